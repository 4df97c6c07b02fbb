//! A registry that serves an image layout as it should, but for one thing that is wrong.
//!
//! It writes its answers byte by byte: a server library would not let it lie about lengths.

mod answer;
mod fault;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use answer::Answering;
pub use fault::{Fault, Times};
pub use wire::Asked;

use crate::oci_image::Layout;

/// On loopback, in this process; its connections end with this value.
#[derive(Debug)]
pub struct BadRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answering: Answering,
    is_ending: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl BadRegistry {
    /// Serves what `layout` has, under every repository's name.
    ///
    /// # Panics
    /// Where there is no port.
    #[must_use]
    pub fn start(layout: &Layout, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answering: Answering::new(layout.clone(), fault, address),
            is_ending: AtomicBool::new(false),
            asked: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An image of it as a client names it: `127.0.0.1:PORT/name`.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// What it was asked so far.
    ///
    /// # Panics
    /// Where a connection of it did.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// What it was asked of blobs so far.
    #[must_use]
    pub fn asked_of_blobs(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.contains("/blobs/")).collect()
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_ending.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            self.connections.lock().unwrap().push(stream.try_clone().unwrap());
            let shared = Arc::clone(self);
            // Ends when the client or this registry closes the connection.
            thread::spawn(move || shared.serve(wire::Connection::over(stream)));
        }
    }

    fn serve(&self, mut connection: wire::Connection) {
        while let Ok(Some(asked)) = connection.receive() {
            self.asked.lock().unwrap().push(asked.clone());
            let answer = self.answering.answer(&asked);
            if connection.send(&asked, &answer).is_err() {
                break;
            }
        }
        connection.close();
    }
}

impl Drop for BadRegistry {
    fn drop(&mut self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        // One more connection, so that it looks.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}
