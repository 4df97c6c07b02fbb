use crate::node::{Disk, Node, SECOND, until};

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
    until(|| std::fs::read_to_string(&file).is_ok_and(|text| text == "one\ntwo\n")).await;
    let mut lines = node.controller.logs("demo", true).await.unwrap();
    print("three\nfo");
    print("ur\n");
    for expected in ["one", "two", "three", "four"] {
        assert_eq!(lines.recv().await.unwrap(), format!("{id} {expected}"));
    }
    let mut past = node.controller.logs("demo", false).await.unwrap();
    let mut read = Vec::new();
    while let Some(line) = past.recv().await {
        read.push(line);
    }
    assert_eq!(read.len(), 4);
    assert!(node.controller.logs("nobody", false).await.is_err());
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
    until(|| std::fs::read_to_string(&file).is_ok_and(|text| text == "last words\n")).await;
    let mut lines = node.controller.logs("demo", false).await.unwrap();
    assert_eq!(lines.recv().await.unwrap(), format!("{id} last words"));
    tokio::time::sleep(601 * SECOND).await;
    until(|| !file.exists()).await;
}
