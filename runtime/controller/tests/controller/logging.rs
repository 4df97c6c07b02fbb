use std::path::Path;

use dormouse_controller::LogQuery;

use crate::node::{Disk, Node, SECOND, until};

/// What is in a file, behind the times that each line has.
fn printed(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.split_once("Z ").unwrap().1.to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_and_followed_without_gap_or_repetition() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    let id = lease.replica().clone();
    let print = |text: &str| node.spawner.look(|state| state.replicas.get_mut(&id).unwrap().print(text));
    let file = disk.run.path().join("logs").join(format!("{id}.log"));
    print("one\ntwo\n");
    until(|| printed(&file) == ["one", "two"]).await;
    let mut lines = node.controller.logs("demo", LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    print("three\nfo");
    print("ur\n");
    for expected in ["one", "two", "three", "four"] {
        assert_eq!(lines.recv().await.unwrap(), format!("{id} {expected}"));
    }
    let mut past = node.controller.logs("demo", LogQuery::default()).await.unwrap();
    let mut read = Vec::new();
    while let Some(line) = past.recv().await {
        read.push(line);
    }
    assert_eq!(read.len(), 4);
    assert!(node.controller.logs("nobody", LogQuery::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_log_outlives_its_replica_for_a_while() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    let id = lease.replica().clone();
    node.spawner.look(|state| state.replicas.get_mut(&id).unwrap().print("last words"));
    node.spawner.kill(&id, dormouse_sandbox::messages::ExitCause::Code { code: 3 });
    lease.lost().await;
    let file = disk.run.path().join("logs").join(format!("{id}.log"));
    until(|| printed(&file) == ["last words"]).await;
    let mut lines = node.controller.logs("demo", LogQuery::default()).await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), format!("{id} last words"));
    tokio::time::sleep(601 * SECOND).await;
    until(|| !file.exists()).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_chooses_lines_by_their_time_and_their_number() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    let id = lease.replica().clone();
    let file = disk.run.path().join("logs").join(format!("{id}.log"));
    node.spawner.look(|state| state.replicas.get_mut(&id).unwrap().print("one\ntwo\nthree\n"));
    until(|| printed(&file).len() == 3).await;
    // As a version before wrote it.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("old\n{text}")).unwrap();
    let read = async |query: LogQuery| {
        let mut lines = node.controller.logs("demo", query).await.unwrap();
        let mut read = Vec::new();
        while let Some(line) = lines.recv().await {
            read.push(line.strip_prefix(&format!("{id} ")).unwrap().to_owned());
        }
        read
    };
    let all = LogQuery::default();
    assert_eq!(read(all).await, ["old", "one", "two", "three"]);
    assert_eq!(read(LogQuery { tail: 2.try_into().ok(), ..all }).await, ["two", "three"]);
    assert_eq!(read(LogQuery { tail: 9.try_into().ok(), ..all }).await.len(), 4);
    assert_eq!(read(LogQuery { since: Some(3600 * SECOND), ..all }).await, ["one", "two", "three"]);
    assert!(read(LogQuery { since: Some(std::time::Duration::ZERO), ..all }).await.is_empty());
    let timed = read(LogQuery { timestamps: true, tail: 1.try_into().ok(), ..all }).await;
    let (time, text) = timed[0].split_once(' ').unwrap();
    assert_eq!((time.len(), text, time.ends_with('Z')), (30, "three", true), "{time}");
}
