//! From the execution of a command to the first page of the server that it starts in a container.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Failure, http::Connection};

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Nobody is told when it listens, so it is asked this often: half of that is the error of a time.
const ASK_EVERY: Duration = Duration::from_micros(500);

/// A port of loopback: given back just before it is used.
pub(super) fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// `command` is to end once the container runs. What it says goes to `log`.
pub(super) fn first_answer(
    command: &mut Command,
    log: &Path,
    address: SocketAddr,
    page: &[u8],
) -> Result<Duration, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let answered = loop {
        if let Ok(answer) = ask(address) {
            break Ok((begun.elapsed(), answer));
        }
        if let Some(status) = child.try_wait()?.filter(|status| !status.success()) {
            break Err(format!("it ended with {status}"));
        }
        if begun.elapsed() > DEADLINE {
            let _ = child.kill();
            break Err("nothing answers".to_owned());
        }
        std::thread::sleep(ASK_EVERY);
    };
    child.wait()?;
    match answered {
        Ok((took, answer)) if answer == page => Ok(took),
        Ok((_, answer)) => Err(format!("the page is {:?}", String::from_utf8_lossy(&answer)).into()),
        Err(reason) => {
            let told = fs::read_to_string(log).unwrap_or_default();
            Err(format!("{}: {reason}: {}", command.get_program().display(), told.trim().replace('\n', "; ")).into())
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Connection::new(stream).get("bench", "/")
}
