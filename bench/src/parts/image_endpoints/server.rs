//! The server of one answer: bare, and as the one program of an image.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use dormouse_tests::oci_image::{Compression, Entry, ImageBuilder, LayerBuilder, Layout};

use crate::{Bench, Failure, http::Connection, libraries, machine::said};

const PROGRAM: &str = "dormouse-bench-server";
const IN_IMAGE: &str = "server";
const EXECUTABLE: u32 = 0o755;

fn program(bench: &Bench) -> Result<PathBuf, Failure> {
    bench.sibling(PROGRAM)
}

/// An archive of an image that has the program and what it is linked to, and nothing else.
pub(super) fn archive(bench: &Bench, directory: &Path) -> Result<PathBuf, Failure> {
    let program = program(bench)?;
    let mut layer = LayerBuilder::new(Compression::Gzip);
    let libraries = libraries::of(&program)?.into_iter().map(|library| library.path);
    for file in libraries.chain([program.clone()]) {
        let place = if file == program { Path::new(IN_IMAGE) } else { file.strip_prefix("/")? };
        let content = fs::read(&file).map_err(|error| format!("reading {}: {error}", file.display()))?;
        layer = layer.entry(Entry::file(place.to_str().ok_or("a path that is no text")?, content).mode(EXECUTABLE));
    }
    let image = ImageBuilder::new().layer(layer.build()).entrypoint(&[&format!("/{IN_IMAGE}")]).build();
    let layout = Layout::of(directory.join("server"), &image, "latest");
    let archive = directory.join("server.tar");
    said(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout.directory()).arg("."))?;
    Ok(archive)
}

/// The same program outside any container.
#[derive(Debug)]
pub(super) struct BareServer {
    child: Child,
    /// As it says itself.
    place: String,
}

impl BareServer {
    pub(super) fn on_tcp(bench: &Bench) -> Result<Self, Failure> {
        Self::start(bench, ["tcp".as_ref(), "127.0.0.1:0".as_ref()])
    }

    pub(super) fn on_unix(bench: &Bench, socket: &Path) -> Result<Self, Failure> {
        Self::start(bench, ["unix".as_ref(), socket])
    }

    fn start(bench: &Bench, arguments: [&Path; 2]) -> Result<Self, Failure> {
        let mut child = Command::new(program(bench)?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut place = String::new();
        let said = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut place));
        let server = Self { child, place: place.trim().to_owned() };
        match said {
            Some(Ok(bytes)) if bytes > 0 => Ok(server),
            _ => Err(format!("{PROGRAM} does not listen at {}", arguments[1].display()).into()),
        }
    }

    pub(super) fn connect_tcp(&self) -> Result<Connection<TcpStream>, Failure> {
        let stream = TcpStream::connect(&self.place)?;
        stream.set_nodelay(true)?;
        Ok(Connection::new(stream))
    }

    pub(super) fn connect_unix(&self) -> Result<Connection<UnixStream>, Failure> {
        Ok(Connection::new(UnixStream::connect(&self.place)?))
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // Where it ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
