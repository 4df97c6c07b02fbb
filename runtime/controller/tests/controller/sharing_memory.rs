use dormouse_controller::{AcquireError, Phase};
use dormouse_spec::EndpointRequest;

use crate::node::{Disk, Node, REPLICA_MEMORY, SECOND, in_future, name, named};

#[tokio::test(start_paused = true)]
async fn endpoints_worth_three_budgets_are_all_answered_and_the_budget_holds() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 2).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        node.deploy(name).await;
    }
    let requests: Vec<_> = (0..20)
        .flat_map(|_| names.map(|name| node.ask(name)))
        .map(|asked| {
            tokio::spawn(async move {
                let lease = asked.await.unwrap();
                tokio::time::sleep(SECOND / 10).await;
                lease.map(drop)
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    node.spawner.look(|state| assert!(state.memory_peak <= 2 * REPLICA_MEMORY.get()));
}

#[tokio::test(start_paused = true)]
async fn the_frozen_replica_of_another_makes_room() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 1).await;
    node.deploy("sleeper").await;
    node.deploy("caller").await;
    drop(node.acquire("sleeper").await.unwrap());
    node.wait_for("sleeper", |view| view.replicas.iter().any(|it| it.phase == Phase::Frozen)).await;
    let lease = node.acquire("caller").await.unwrap();
    assert!(lease.replica().as_str().starts_with("caller-"));
    node.wait_for("sleeper", |view| view.replicas.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn constant_load_does_not_starve_another() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 1).await;
    node.deploy("busy").await;
    node.deploy("other").await;
    let first = node.acquire("busy").await.unwrap();
    let other = node.ask("other");
    // The next request always begins before the last one ends.
    let mut overlapping = first;
    let mut requests = 0;
    while !other.is_finished() {
        let next = node.ask("busy");
        tokio::time::sleep(SECOND / 10).await;
        drop(overlapping);
        tokio::select! {
            lease = next => overlapping = lease.unwrap().unwrap(),
            () = tokio::time::sleep(5 * SECOND) => break,
        }
        requests += 1;
        assert!(requests < 1000, "starved");
    }
    assert!(other.await.unwrap().unwrap().replica().as_str().starts_with("other-"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_what_is_short() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 1).await;
    node.deploy("demo").await;
    node.try_deploy(EndpointRequest { min_replicas: Some(1), ..named("pinned") }, "pinned").await.unwrap();
    node.wait_for("pinned", |view| view.replicas.iter().any(|it| it.phase == Phase::Ready)).await;
    let refused = node.controller.acquire(&name("demo"), in_future(5 * SECOND)).await.unwrap_err();
    assert_eq!(refused, AcquireError::OutOfCapacity { short: REPLICA_MEMORY, retry_after: SECOND });
}
