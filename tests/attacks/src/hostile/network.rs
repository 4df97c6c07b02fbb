//! As a process of an image: commands come over TCP, and sockets can be made.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    process::ExitCode,
};

use dormouse_driver::worker::outcome;

pub(super) fn serve() -> ExitCode {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, super::PORT)).unwrap();
    loop {
        let (mut connection, _) = listener.accept().unwrap();
        let mut command = String::new();
        // One that only looks whether somebody listens says nothing.
        if connection.read_to_string(&mut command).is_ok() && !command.is_empty() {
            // The caller may have gone.
            let _ = connection.write_all(super::answer(&command).as_bytes());
        }
    }
}

pub(super) fn connect_abstract(name: &str) -> String {
    outcome(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()))
}

pub(super) fn connect_port(port: &str) -> String {
    outcome(TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().unwrap())))
}
