use dormouse_controller::{AcquireError, Condition, DeleteError, DeployError};
use dormouse_sandbox::messages::{Event, Request};

use crate::{
    node::{Disk, Node, SECOND, in_future, name, named},
    spawner::Start,
};

#[tokio::test(start_paused = true)]
async fn a_delete_waits_for_the_last_request_and_leaves_nothing() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    let controller = node.controller.clone();
    let delete = tokio::spawn(async move { controller.delete(&name("demo")).await });
    node.wait_for("demo", |view| view.condition == Condition::Draining).await;
    assert!(matches!(node.acquire("demo").await.unwrap_err(), AcquireError::Draining { .. }));
    assert!(!disk.state_of("demo").exists());
    assert!(!delete.is_finished());
    drop(lease);
    delete.await.unwrap().unwrap();
    assert!(node.controller.endpoint("demo").is_none());
    assert_eq!(disk.models(), 0);
    assert!(!node.metrics().contains(r#"endpoint="demo""#));
    let forget = Request::Forget { endpoint: name("demo") };
    node.spawner.wait_for(|state| state.requests.contains(&forget).then_some(())).await;
    node.spawner.look(|state| assert!(state.replicas.is_empty()));
    let again = node.controller.delete(&name("demo")).await.unwrap_err();
    assert!(matches!(again, DeleteError::NotFound(_)));
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_request_does_not_end_is_told_to_end_at_the_drain_deadline() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    node.controller.delete(&name("demo")).await.unwrap();
    let stop = Request::Stop { replica: lease.replica().clone(), grace_ms: 2000 };
    node.spawner.look(|state| assert!(state.requests.contains(&stop)));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_deployed_again_after_its_delete_has_other_replicas() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    for _ in 0..2 {
        node.deploy("demo").await;
        drop(node.acquire("demo").await.unwrap());
        node.controller.delete(&name("demo")).await.unwrap();
    }
    let mut ids: Vec<_> = node.spawner.created().into_iter().map(|spec| spec.replica).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_ending_daemon_refuses_and_waits_for_what_runs() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let lease = node.acquire("demo").await.unwrap();
    node.spawner.tell(Event::Drain);
    node.controller.draining().wait_for(|draining| *draining).await.unwrap();
    node.wait_for("demo", |view| view.condition == Condition::Draining).await;
    assert!(matches!(node.acquire("demo").await.unwrap_err(), AcquireError::Draining { .. }));
    assert!(matches!(node.try_deploy(named("more"), "more").await.unwrap_err(), DeployError::Draining));
    let controller = node.controller.clone();
    let drained = tokio::spawn(async move { controller.drained(in_future(20 * SECOND)).await });
    tokio::time::sleep(SECOND).await;
    assert!(!drained.is_finished());
    drop(lease);
    drained.await.unwrap();
    node.spawner.wait_for(|state| state.requests.contains(&Request::Drained).then_some(())).await;
    assert!(disk.state_of("demo").exists(), "desired state stays");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_whatever_runs() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let _lease = node.acquire("demo").await.unwrap();
    node.controller.drained(in_future(20 * SECOND)).await;
    node.spawner.wait_for(|state| state.requests.contains(&Request::Drained).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_deploy_failed_can_be_deleted() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.spawner.script([Start::LoadFails("no".to_owned())]);
    node.try_deploy(named("demo"), "demo").await.unwrap_err();
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(refused, AcquireError::StartFailed { .. }), "{refused}");
    node.controller.delete(&name("demo")).await.unwrap();
    assert!(node.controller.endpoint("demo").is_none());
}
