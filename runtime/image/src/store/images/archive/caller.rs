//! A descriptor of a caller's: a file, or a pipe with somebody at its other end who may never come.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// How soon it is noticed that the caller went away.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// How long the other end of a pipe may do nothing.
const STALL: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Caller {
    file: File,
    went_away: Arc<AtomicBool>,
}

impl Caller {
    pub(super) fn new(descriptor: OwnedFd, went_away: Arc<AtomicBool>) -> Self {
        Self { file: descriptor.into(), went_away }
    }

    /// Waits until a read or write does not, whether the descriptor is one that waits or not.
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let began = Instant::now();
        loop {
            if self.went_away.load(Ordering::Relaxed) {
                return Err(io::Error::other("whoever asked for it went away"));
            }
            match poll(&mut [PollFd::new(&self.file, wanted)], Some(&LOOK_EVERY)) {
                Ok(0) if began.elapsed() >= STALL => {
                    let seconds = STALL.as_secs();
                    return Err(io::Error::other(format!("nothing moved for {seconds} s at its other end")));
                }
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Caller {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::IN)?;
            match self.file.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                read => return read,
            }
        }
    }
}

impl Write for Caller {
    /// Of a pipe that waits, no more is written at a time than is sure to fit: it would hold this thread.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at_a_time = bytes.get(..bytes.len().min(rustix::pipe::PIPE_BUF)).unwrap_or(bytes);
        let bytes = if self.file.metadata()?.is_file() { bytes } else { at_a_time };
        loop {
            self.wait(PollFlags::OUT)?;
            match self.file.write(bytes) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
