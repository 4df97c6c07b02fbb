use dormouse_controller::{AcquireError, Address, Phase, Place};
use dormouse_sandbox::messages::Request;
use dormouse_spec::EndpointRequest;

use crate::{
    node::{Disk, Node, SECOND, in_future, name, named},
    spawner::Start,
};

#[tokio::test(start_paused = true)]
async fn two_hundred_first_requests_share_the_starts() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let probes = node.spawner.created().len();
    let asked: Vec<_> = (0..200).map(|_| node.ask("demo")).collect();
    for asked in asked {
        drop(asked.await.unwrap().unwrap());
    }
    assert!(node.spawner.created().len() - probes <= 2);
    assert!(node.metrics().contains(r#"dormouse_starts_total{endpoint="demo",result="ok",rung="created"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn an_idle_replica_is_frozen_then_gone_and_each_time_the_next_request_wakes_it() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    assert!(node.wait_for("demo", |view| view.replicas.is_empty()).await.metadata.value()["name"] == "demo");

    let lease = node.acquire("demo").await.unwrap();
    let first = lease.replica().clone();
    let Address::Unix(socket) = lease.address() else { panic!("a worker serves on a Unix socket") };
    assert!(socket.ends_with(format!("sockets/{first}.sock")));
    drop(lease);
    node.wait_for("demo", |view| view.replicas.iter().any(|it| it.phase == Phase::Frozen)).await;

    let lease = node.acquire("demo").await.unwrap();
    assert_eq!(*lease.replica(), first);
    let thaw = Request::Thaw { replica: first.clone() };
    node.spawner.wait_for(|state| state.requests.contains(&thaw).then_some(())).await;
    drop(lease);
    node.wait_for("demo", |view| view.replicas.is_empty()).await;
    node.spawner.look(|state| assert!(state.replicas.is_empty()));

    assert_ne!(*node.acquire("demo").await.unwrap().replica(), first);
}

#[tokio::test(start_paused = true)]
async fn time_that_runs_out_during_a_start_or_in_the_queue_is_told_apart() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    let small = EndpointRequest { max_replicas: Some(1), container_concurrency: Some(1), ..named("demo") };
    node.try_deploy(small, "demo").await.unwrap();
    let demo = name("demo");
    let acquire = || node.controller.acquire(&demo, in_future(5 * SECOND));

    node.spawner.script([Start::Hold]);
    assert_eq!(acquire().await.unwrap_err(), AcquireError::DeadlineExceeded { place: Place::Start });
    let replica = node.view("demo").replicas[0].id.clone();
    node.spawner.finish(&replica);
    let lease = acquire().await.unwrap();
    assert_eq!(acquire().await.unwrap_err(), AcquireError::DeadlineExceeded { place: Place::Queue });
    drop(lease);
    acquire().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_the_queue_and_gives_back_what_it_was_given() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    let small = EndpointRequest { max_replicas: Some(1), container_concurrency: Some(1), ..named("demo") };
    node.try_deploy(small, "demo").await.unwrap();
    let lease = node.acquire("demo").await.unwrap();
    let gone = node.ask("demo");
    node.wait_for("demo", |view| view.waiters == 1).await;
    let before = tokio::time::Instant::now();
    gone.abort();
    node.wait_for("demo", |view| view.waiters == 0).await;
    assert!(before.elapsed() < SECOND, "it left by itself, not by its deadline");
    drop(lease);
    node.acquire("demo").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_last() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    let small = EndpointRequest { queue_waiters_max: Some(2), ..named("demo") };
    node.try_deploy(small, "demo").await.unwrap();
    node.spawner.script([Start::Hold]);
    let waiting = [node.ask("demo"), node.ask("demo")];
    node.wait_for("demo", |view| view.waiters == 2).await;
    let refused = node.acquire("demo").await.unwrap_err();
    assert!(matches!(refused, AcquireError::QueueFull { waiters: 2, .. }), "{refused}");
    assert!(node.metrics().contains(r#"dormouse_queue_waiters{endpoint="demo"} 2"#));
    let held = node.view("demo").replicas[0].id.clone();
    node.spawner.finish(&held);
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_must_run_start_unasked_and_stay() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.try_deploy(EndpointRequest { min_replicas: Some(1), ..named("demo") }, "demo").await.unwrap();
    let ready = |view: &dormouse_controller::EndpointView| view.replicas.iter().any(|it| it.phase == Phase::Ready);
    let first = node.wait_for("demo", ready).await.replicas[0].id.clone();
    tokio::time::sleep(1000 * SECOND).await;
    assert_eq!(node.view("demo").replicas[0].phase, Phase::Ready);
    node.spawner.kill(&first, dormouse_sandbox::messages::ExitCause::Signal { signal: 9 });
    node.wait_for("demo", |view| ready(view) && view.replicas[0].id != first).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_endpoint_is_not_found() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    assert_eq!(node.acquire("nobody").await.unwrap_err(), AcquireError::NotFound);
    assert!(node.controller.endpoint("nobody").is_none());
}
