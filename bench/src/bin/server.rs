//! A web server that does as little as one can: the same answer to every request, on connections that are kept. It is an
//! image's program, and the same program outside any container: what is measured is what stands before it.
//!
//! As an image's program it is told where to listen by `$PORT`. Otherwise `tcp ADDRESS` or `unix PATH` says so, and it
//! says where it listens in a line on standard output.

use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    process::ExitCode,
    thread,
};

/// One thread each, which waits: nothing looks for the next connection that has something to say. A proxy that passes on
/// one request at a time keeps one, and looks whether anybody is there with another. Each thread more is one that a thaw
/// has to wake.
const CONNECTIONS_MAX: usize = 4;
/// Of a head. There are no bodies.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n\
    the same sixty-four bytes to everybody, however often they ask.\n";

fn main() -> ExitCode {
    let Err(error) = listen() else { return ExitCode::SUCCESS };
    eprintln!("dormouse-bench-server: {error}");
    ExitCode::FAILURE
}

fn listen() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let port = env::var("PORT")?.parse()?;
            serve_tcp(&TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
        }
        ["tcp", address] => {
            let listener = TcpListener::bind(address.parse::<SocketAddr>()?)?;
            println!("{}", listener.local_addr()?);
            serve_tcp(&listener);
        }
        ["unix", path] => {
            let listener = UnixListener::bind(path)?;
            println!("{path}");
            serve(|| listener.accept().map(|(stream, _)| stream));
        }
        _ => return Err(format!("{arguments:?} says nowhere to listen").into()),
    }
    Ok(())
}

fn serve_tcp(listener: &TcpListener) {
    serve(|| {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(stream)
    });
}

fn serve<S: Read + Write>(accept: impl Fn() -> io::Result<S> + Sync) {
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS_MAX {
            scope.spawn(|| {
                loop {
                    // A client that is gone is no concern of the next one.
                    let _ = accept().and_then(answer);
                }
            });
        }
    });
}

/// Until the client has nothing more to ask.
fn answer(mut stream: impl Read + Write) -> io::Result<()> {
    let (mut request, mut length) = ([0; REQUEST_BYTES_MAX], 0);
    loop {
        let read = stream.read(&mut request[length..])?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        if request[..length].ends_with(b"\r\n\r\n") {
            stream.write_all(ANSWER)?;
            length = 0;
        }
    }
}
