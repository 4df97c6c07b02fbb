use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
};

use dormouse_sandbox::messages::ReplicaId;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Line, LogLines,
    query::{Choice, LogQuery},
    writer::{Ask, Snapshot},
};

/// Lines read ahead of whoever takes them.
const LINES_AHEAD_MAX: usize = 256;

/// Takes a snapshot of each replica's log, then sends their lines and with `following` every line
/// that is not in a snapshot.
pub(super) async fn read(
    asks: Vec<(ReplicaId, mpsc::Sender<Ask>)>,
    following: Option<broadcast::Receiver<Line>>,
    query: LogQuery,
) -> io::Result<LogLines> {
    let mut snapshots = Vec::new();
    for (replica, asks) in asks {
        let (answer, answered) = oneshot::channel();
        // A writer that ended meanwhile has removed its files: nothing is left to read.
        if asks.send(Ask::Snapshot(answer)).await.is_ok()
            && let Ok(snapshot) = answered.await
        {
            snapshots.push((replica, snapshot));
        }
    }
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    tokio::spawn(send(snapshots, following, query.into(), sender));
    Ok(lines)
}

/// Ends as soon as nobody takes the lines.
async fn send(
    snapshots: Vec<(ReplicaId, Snapshot)>,
    following: Option<broadcast::Receiver<Line>>,
    choice: Choice,
    sender: mpsc::Sender<String>,
) {
    let told: HashMap<ReplicaId, u64> =
        snapshots.iter().map(|(replica, snapshot)| (replica.clone(), snapshot.next_line)).collect();
    let (past, of_past) = (sender.clone(), choice.clone());
    let sent = tokio::task::spawn_blocking(move || {
        for (replica, snapshot) in snapshots {
            send_past(&replica, &snapshot, &of_past, &past)?;
        }
        Ok::<_, Ended>(())
    });
    if matches!(sent.await, Ok(Ok(())))
        && let Some(following) = following
    {
        send_new(following, &told, &choice, &sender).await;
    }
}

/// Nobody takes the lines any more.
struct Ended;

fn send_past(
    replica: &ReplicaId,
    snapshot: &Snapshot,
    choice: &Choice,
    sender: &mpsc::Sender<String>,
) -> Result<(), Ended> {
    let mut surplus = match choice.tail {
        // Read twice, so that nothing has to be kept meanwhile.
        Some(tail) => chosen(snapshot, choice).filter(Result::is_ok).count().saturating_sub(tail.get() as usize),
        None => 0,
    };
    for line in chosen(snapshot, choice) {
        match line {
            Ok(_) if surplus > 0 => surplus -= 1,
            Ok(line) => {
                let shown = format!("{replica} {}", choice.shown(&line));
                sender.blocking_send(shown).map_err(|_| Ended)?;
            }
            Err(error) => {
                tracing::warn!(%replica, error = &error as &dyn std::error::Error, "reading a log failed");
            }
        }
    }
    Ok(())
}

/// The lines of both files that are wanted, each file up to what cannot be read.
fn chosen<'a>(snapshot: &'a Snapshot, choice: &'a Choice) -> impl Iterator<Item = io::Result<String>> + 'a {
    let lines = snapshot.files.iter().flat_map(|(file, bytes)| Begun { lines: begin(file, *bytes), is_over: false });
    lines.filter(|line| line.as_ref().map_or(true, |line| choice.takes(line)))
}

type FileLines<'a> = io::Lines<BufReader<io::Take<&'a File>>>;

fn begin(mut file: &File, bytes: u64) -> io::Result<FileLines<'_>> {
    file.rewind()?;
    Ok(BufReader::new(file.take(bytes)).lines())
}

/// The lines of one file, of which an error is the last.
struct Begun<'a> {
    lines: io::Result<FileLines<'a>>,
    is_over: bool,
}

impl Iterator for Begun<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = match &mut self.lines {
            Ok(lines) => lines.next(),
            Err(error) => Some(Err(io::Error::from(error.kind()))),
        };
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

async fn send_new(
    mut following: broadcast::Receiver<Line>,
    told: &HashMap<ReplicaId, u64>,
    choice: &Choice,
    sender: &mpsc::Sender<String>,
) {
    loop {
        let text = tokio::select! {
            () = sender.closed() => return,
            line = following.recv() => match line {
                Ok(line) if told.get(&line.replica).is_some_and(|next| line.number < *next) => continue,
                Ok(line) => format!("{} {}{}", line.replica, choice.prefix(&line.read_at), line.text),
                Err(broadcast::error::RecvError::Lagged(lines)) => format!("… {lines} lines were not followed"),
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
        if sender.send(text).await.is_err() {
            return;
        }
    }
}
