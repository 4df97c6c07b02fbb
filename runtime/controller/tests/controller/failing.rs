use dormouse_controller::{AcquireError, Condition};
use dormouse_sandbox::messages::{ExitCause, Request};

use crate::{
    node::{Disk, Node, SECOND},
    spawner::Start,
};

#[tokio::test(start_paused = true)]
async fn holders_learn_why_a_replica_died_and_the_next_request_works() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    let cause = ExitCause::OutOfMemory { limit_bytes: 64 << 20 };
    node.spawner.kill(lease.replica(), cause.clone());
    assert_eq!(lease.lost().await, cause.into());
    let next = node.acquire("demo").await.unwrap();
    assert_ne!(next.replica(), lease.replica());
    // A lease of the dead is no lease of the living.
    drop(lease);
    assert_eq!(node.wait_for("demo", |view| view.replicas.len() == 1).await.replicas[0].leases, 1);
    assert!(node.view("demo").last_failure.as_ref().unwrap().contains("out of memory"));
}

#[tokio::test(start_paused = true)]
async fn one_in_which_nothing_listens_any_more_keeps_its_requests_and_another_takes_the_next() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let (streams, refused) = (node.acquire("demo").await.unwrap(), node.acquire("demo").await.unwrap());
    let replica = streams.replica().clone();
    assert_eq!(refused.replica(), &replica);
    refused.tell_deaf();
    drop(refused);
    let is_told = |failure: &String| failure.contains("nothing listens");
    node.wait_for("demo", |view| view.last_failure.as_ref().is_some_and(is_told)).await;
    let next = node.acquire("demo").await.unwrap();
    assert_ne!(next.replica(), &replica);
    tokio::select! {
        biased;
        cause = streams.lost() => panic!("it lost what it has: {cause}"),
        () = std::future::ready(()) => {}
    }
    drop(streams);
    let stop = Request::Stop { replica, grace_ms: 2000 };
    node.spawner.wait_for(|state| state.requests.contains(&stop).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_told_to_who_waits_and_backs_off() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    node.spawner.script([Start::LoadFails("no kernel for Foo(7)".to_owned())]);
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(&refused, AcquireError::StartFailed { cause, .. } if cause.contains("Foo(7)")), "{refused}");
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(refused, AcquireError::BackOff { retry_after, .. } if retry_after == SECOND), "{refused}");
    node.wait_for("demo", |view| view.condition == Condition::Failed).await;
    node.wait_for("demo", |view| view.condition == Condition::Ready).await;
    node.acquire("demo").await.unwrap();
    assert!(node.metrics().contains(r#"dormouse_starts_total{endpoint="demo",result="failed",rung="created"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_made_is_a_failed_start() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    node.spawner.script([Start::Dies(ExitCause::NotCreated { reason: "no cgroup".to_owned() })]);
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(&refused, AcquireError::StartFailed { cause, .. } if cause.contains("no cgroup")), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_never_ends_is_ended_at_its_deadline() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    node.spawner.script([Start::Hold]);
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(&refused, AcquireError::StartFailed { cause, .. } if cause.contains("1m")), "{refused}");
    node.spawner.wait_for(|state| state.replicas.is_empty().then_some(())).await;
}
