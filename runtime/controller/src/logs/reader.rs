use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
};

use dormouse_sandbox::messages::ReplicaId;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Line, LogLines,
    writer::{Ask, Snapshot},
};

/// Lines read ahead of whoever takes them.
const LINES_AHEAD_MAX: usize = 256;

/// Takes a snapshot of each replica's log, then sends their lines and with `following` every line
/// that is not in a snapshot.
pub(super) async fn read(
    asks: Vec<(ReplicaId, mpsc::Sender<Ask>)>,
    following: Option<broadcast::Receiver<Line>>,
) -> std::io::Result<LogLines> {
    let mut snapshots = Vec::new();
    for (replica, asks) in asks {
        let (answer, answered) = oneshot::channel();
        // A writer that ended meanwhile has removed its files: nothing is left to read.
        if asks.send(answer).await.is_ok()
            && let Ok(snapshot) = answered.await
        {
            snapshots.push((replica, snapshot));
        }
    }
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    tokio::spawn(send(snapshots, following, sender));
    Ok(lines)
}

/// Ends as soon as nobody takes the lines.
async fn send(
    snapshots: Vec<(ReplicaId, Snapshot)>,
    following: Option<broadcast::Receiver<Line>>,
    sender: mpsc::Sender<String>,
) {
    let told: HashMap<ReplicaId, u64> =
        snapshots.iter().map(|(replica, snapshot)| (replica.clone(), snapshot.next_line)).collect();
    let past = sender.clone();
    let sent = tokio::task::spawn_blocking(move || {
        for (replica, snapshot) in snapshots {
            send_past(&replica, snapshot, &past)?;
        }
        Ok::<_, Ended>(())
    });
    if matches!(sent.await, Ok(Ok(())))
        && let Some(following) = following
    {
        send_new(following, &told, &sender).await;
    }
}

/// Nobody takes the lines any more.
struct Ended;

fn send_past(replica: &ReplicaId, snapshot: Snapshot, sender: &mpsc::Sender<String>) -> Result<(), Ended> {
    for (file, bytes) in snapshot.files {
        for line in BufReader::new(file.take(bytes)).lines() {
            match line {
                Ok(line) => sender.blocking_send(shown(replica, &line)).map_err(|_| Ended)?,
                Err(error) => {
                    tracing::warn!(%replica, error = &error as &dyn std::error::Error, "reading a log failed");
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn send_new(
    mut following: broadcast::Receiver<Line>,
    told: &HashMap<ReplicaId, u64>,
    sender: &mpsc::Sender<String>,
) {
    loop {
        let text = tokio::select! {
            () = sender.closed() => return,
            line = following.recv() => match line {
                Ok(line) if told.get(&line.replica).is_some_and(|next| line.number < *next) => continue,
                Ok(line) => shown(&line.replica, &line.text),
                Err(broadcast::error::RecvError::Lagged(lines)) => format!("… {lines} lines were not followed"),
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
        if sender.send(text).await.is_err() {
            return;
        }
    }
}

fn shown(replica: &ReplicaId, line: &str) -> String {
    format!("{replica} {line}")
}
