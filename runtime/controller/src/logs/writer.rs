use std::{fmt::Write, fs::File, os::fd::OwnedFd, sync::Arc, time::Duration};

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::printable;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{Followers, Line, blocking, files::LogFiles, lines::Lines, stamp::Stamp};

/// Readers of one replica's log that wait for their snapshot.
pub(super) const ASKS_MAX: usize = 16;
/// What is read from a replica at a time.
const READ_BYTES_MAX: usize = 16 << 10;
/// Between two reads of one replica. One that prints faster than this takes, 1.6 MiB a second, waits
/// in its own write once its pipe is full: it cannot make the node work for it instead.
const READ_EVERY: Duration = Duration::from_millis(10);

/// How often it is told that lines are lost.
const TELL_LOSS_EVERY: Duration = Duration::from_secs(60);

/// What is asked of who writes a log.
#[derive(Debug)]
pub(super) enum Ask {
    /// Everything that was written so far, for a reader.
    Snapshot(oneshot::Sender<Snapshot>),
    /// To add this line, which is not of the replica.
    Note(String),
}

/// What was written so far: the files with how much of them counts, and the number of the line
/// that comes next. Only the writer's task knows all three at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) files: Vec<(File, u64)>,
    pub(super) next_line: u64,
}

/// Writes the log of one replica.
#[derive(Debug)]
pub(super) struct Writer {
    replica: ReplicaId,
    /// `None` while the files are with a thread that writes.
    files: Option<LogFiles>,
    lines: Lines,
    followers: Followers,
    next_line: u64,
    /// Lines that could not be written, in all.
    lines_lost: u64,
    loss_told: Option<Instant>,
}

impl Writer {
    pub(super) fn new(replica: ReplicaId, files: LogFiles, followers: Followers) -> Self {
        Self {
            replica,
            files: Some(files),
            lines: Lines::default(),
            followers,
            next_line: 0,
            lines_lost: 0,
            loss_told: None,
        }
    }

    /// Copies what the replica prints until it ends.
    pub(super) async fn copy(&mut self, pipe: OwnedFd, asks: &mut mpsc::Receiver<Ask>) {
        let mut pipe = match pipe::Receiver::from_owned_fd(pipe) {
            Ok(pipe) => pipe,
            Err(error) => return warn(&self.replica, "its log is not read", &error),
        };
        let mut buffer = vec![0; READ_BYTES_MAX];
        let mut may_be_asked = true;
        let mut next_read = Instant::now();
        loop {
            let paced = async {
                sleep_until(next_read).await;
                pipe.read(&mut buffer).await
            };
            tokio::select! {
                read = paced => match read {
                    Ok(0) => break,
                    Ok(bytes) => {
                        let written = self.write(buffer.get(..bytes).unwrap_or_default()).await;
                        // Of short lines the times are the larger part, and are not to be had for nothing.
                        let reads = written.div_ceil(READ_BYTES_MAX).max(1);
                        next_read = Instant::now() + READ_EVERY * u32::try_from(reads).unwrap_or(u32::MAX);
                    }
                    Err(error) => {
                        warn(&self.replica, "reading its log failed", &error);
                        break;
                    }
                },
                ask = asks.recv(), if may_be_asked => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => may_be_asked = false,
                },
            }
        }
        let rest = self.lines.rest();
        self.keep(rest.into_iter().collect()).await;
    }

    /// Answers readers for `time`, or until nobody can ask any more, and removes the files.
    pub(super) async fn linger(mut self: Box<Self>, time: Duration, mut asks: mpsc::Receiver<Ask>) {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                () = sleep_until(end) => break,
                ask = asks.recv() => match ask {
                    // Apart, as hardly any log of the many that linger is ever asked for.
                    Some(ask) => Box::pin(self.answer(ask)).await,
                    None => break,
                },
            }
        }
        if let Some(files) = self.files
            && let Err(error) = blocking(move || files.remove()).await
        {
            warn(&self.replica, "its log was not removed", &error);
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> usize {
        let mut complete = Vec::new();
        self.lines.push(bytes, |line| complete.push(line));
        self.keep(complete).await
    }

    /// How many bytes that took in its file.
    async fn keep(&mut self, lines: Vec<String>) -> usize {
        if lines.is_empty() {
            return 0;
        }
        let Some(mut files) = self.files.take() else { return 0 };
        let read_at = Stamp::now();
        let mut text = String::new();
        let mut ends = Vec::with_capacity(lines.len());
        for line in &lines {
            let _ = writeln!(text, "{read_at} {line}");
            ends.push(text.len());
        }
        let bytes = text.len();
        let written = blocking(move || {
            let written = files.append_lines(text.as_bytes(), &ends);
            Ok((files, written))
        });
        match written.await {
            Ok((files, written)) => {
                self.files = Some(files);
                self.note_written(written, lines.len());
            }
            Err(error) => warn(&self.replica, "its log is kept no longer", &error),
        }
        for text in lines {
            let (replica, number, read_at) = (self.replica.clone(), self.next_line, read_at.clone());
            let line = Line { replica, number, read_at, text: Arc::from(text) };
            self.next_line += 1;
            self.followers.send(line);
        }
        bytes
    }

    /// A disk stays full for many lines, with room for a short one now and then.
    fn note_written(&mut self, written: std::io::Result<()>, lines: usize) {
        let Err(error) = written else { return };
        self.lines_lost += lines as u64;
        if self.loss_told.is_none_or(|told| told.elapsed() >= TELL_LOSS_EVERY) {
            self.loss_told = Some(Instant::now());
            let (replica, lines_lost) = (&self.replica, self.lines_lost);
            tracing::warn!(%replica, lines_lost, error = &error as &dyn std::error::Error, "writing its log failed");
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(snapshot) => self.open(snapshot).await,
            Ask::Note(line) => drop(self.keep(vec![printable(&line)]).await),
        }
    }

    async fn open(&mut self, snapshot: oneshot::Sender<Snapshot>) {
        let Some(files) = self.files.take() else { return };
        let opened = blocking(move || {
            let opened = files.open_to_read();
            Ok((files, opened))
        });
        if let Ok((files, opened)) = opened.await {
            self.files = Some(files);
            match opened {
                Ok(files) => {
                    let _ = snapshot.send(Snapshot { files, next_line: self.next_line });
                }
                Err(error) => warn(&self.replica, "opening its log failed", &error),
            }
        }
    }
}

fn warn(replica: &ReplicaId, what: &str, error: &std::io::Error) {
    tracing::warn!(%replica, error = error as &dyn std::error::Error, "{what}");
}
