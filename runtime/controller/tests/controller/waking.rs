//! Wakes that begin with a head, and what is remembered of wakes.

use std::time::Duration;

use dormouse_controller::{Asked, EndpointView, Expectation, Phase, Rung, WakeOutcome, WakePhase};
use dormouse_sandbox::messages::{CreatePhases, Event, ExitCause, Origin, ReplicaId, Request};
use dormouse_spec::EndpointRequest;

use crate::{
    node::{Disk, Node, SECOND, in_future, name, named},
    spawner::{LOAD, Start},
};

fn expect(node: &Node) -> Expectation {
    node.controller.expect(&name("demo"), in_future(20 * SECOND)).expect("no replica is ready")
}

fn phase(node: &Node) -> Option<Phase> {
    node.view("demo").replicas.first().map(|replica| replica.phase)
}

fn is_ready(view: &EndpointView) -> bool {
    view.replicas.iter().any(|replica| replica.phase == Phase::Ready)
}

fn is_frozen(view: &EndpointView) -> bool {
    view.replicas.iter().any(|replica| replica.phase == Phase::Frozen)
}

async fn demo(disk: &Disk) -> Node {
    let node = Node::start(disk).await;
    node.deploy("demo").await;
    node.wait_for("demo", |view| view.replicas.is_empty()).await;
    node
}

#[tokio::test(start_paused = true)]
async fn an_expected_request_finds_its_replica_ready_and_the_wait_for_its_body_is_told() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    let expectation = expect(&node);
    node.wait_for("demo", is_ready).await;
    assert!(node.controller.expect(&name("demo"), in_future(SECOND)).is_none(), "there is nothing to wake");
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(phase(&node), Some(Phase::Ready), "beyond its idle time");
    let lease = node.controller.acquire_expected(&name("demo"), in_future(SECOND), expectation).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert!(lease.ends_a_wake());
    lease.tell_answered();
    let view = node.wait_for("demo", |view| !view.wakes.is_empty()).await;
    let wake = &view.wakes[0];
    let whole = |phase| wake.phases.iter().find(|(it, _)| *it == phase).map(|(_, time)| time.as_secs());
    assert_eq!((whole(WakePhase::Body), whole(WakePhase::FirstInference)), (Some(15), Some(3)), "{wake:?}");
    assert_eq!(wake.total.as_secs(), 18);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_its_body_leaves_the_replica_to_rest() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    let expectation = expect(&node);
    node.wait_for("demo", is_ready).await;
    drop(expectation);
    node.wait_for("demo", is_frozen).await;
    let lease = node.acquire("demo").await.unwrap();
    lease.tell_answered();
    drop(lease);
    node.wait_for("demo", is_frozen).await;
    let expectation = expect(&node);
    node.wait_for("demo", is_ready).await;
    drop(expectation);
    node.wait_for("demo", is_frozen).await;
    let wakes = &node.view("demo").wakes;
    let told: Vec<_> = wakes.iter().map(|wake| (wake.rung, wake.outcome.clone())).collect();
    let expected = [
        (Rung::Frozen, WakeOutcome::Unused),
        (Rung::Frozen, WakeOutcome::Answered),
        (Rung::Created, WakeOutcome::Unused),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn who_was_expected_by_an_endpoint_that_is_no_more_gets_the_one_of_its_name() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    let expectation = expect(&node);
    node.wait_for("demo", is_ready).await;
    node.controller.delete(&name("demo")).await.unwrap();
    node.deploy("demo").await;
    node.controller.acquire_expected(&name("demo"), in_future(60 * SECOND), expectation).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_loading_divides_as_the_replica_says_and_no_longer_than_it_took() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    node.spawner.script([Start::Hold]);
    let asked = node.ask("demo");
    let starting = |view: &EndpointView| view.replicas.iter().any(|replica| replica.phase == Phase::Starting);
    let replica = node.wait_for("demo", starting).await.replicas[0].id.clone();
    tokio::time::sleep(SECOND).await;
    node.spawner.finish(&replica);
    let lease = asked.await.unwrap().unwrap();
    lease.tell_answered();
    let wake = node.wait_for("demo", |view| !view.wakes.is_empty()).await.wakes[0].clone();
    let time = |phase| wake.phases.iter().find(|(it, _)| *it == phase).unwrap().1;
    assert_eq!(time(WakePhase::Runtime), Duration::from_micros(LOAD.runtime_us));
    assert_eq!(time(WakePhase::Model), Duration::from_micros(LOAD.model_us));
    assert_eq!(time(WakePhase::Session), Duration::from_micros(LOAD.session_us));
    assert!(time(WakePhase::Start) >= SECOND - Duration::from_millis(1));
    assert_eq!(wake.total, wake.phases.iter().map(|(_, time)| *time).sum());
    assert_eq!(
        wake.origin,
        Some(Origin::Created(CreatePhases { fork_us: 1, cgroup_us: 2, container_us: 3, release_us: 4 }))
    );
    assert_eq!((wake.asked, &wake.replica, &wake.outcome), (Asked::Request, &replica, &WakeOutcome::Answered));
    let metrics = node.metrics();
    for phase in ["queue", "create", "session", "total"] {
        let series = format!(r#"dormouse_wake_phase_seconds_count{{phase="{phase}",rung="created"}} 1"#);
        assert!(metrics.contains(&series), "{series}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wake_without_an_answer_says_why() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    let last = |view: &EndpointView| view.wakes.first().map(|wake| wake.outcome.clone());

    drop(node.acquire("demo").await.unwrap());
    node.wait_for("demo", |view| last(view) == Some(WakeOutcome::Unanswered)).await;
    node.wait_for("demo", |view| view.replicas.is_empty()).await;

    let lease = node.acquire("demo").await.unwrap();
    node.spawner.kill(lease.replica(), ExitCause::Signal { signal: 11 });
    lease.lost().await;
    drop(lease);
    let died = |outcome: &WakeOutcome| matches!(outcome, WakeOutcome::Failed { cause } if cause.contains("signal 11"));
    node.wait_for("demo", |view| last(view).is_some_and(|outcome| died(&outcome))).await;

    node.spawner.script([Start::LoadFails("no such op".to_owned())]);
    node.acquire("demo").await.unwrap_err();
    let failed = WakeOutcome::Failed { cause: "no such op".to_owned() };
    node.wait_for("demo", |view| last(view) == Some(failed.clone())).await;
    assert!(!node.metrics().contains(r#"phase="total""#), "none of them was a whole wake");
}

#[tokio::test(start_paused = true)]
async fn only_the_first_request_of_a_wake_ends_it() {
    let disk = Disk::new();
    let node = demo(&disk).await;
    let (first, second) = (node.acquire("demo").await.unwrap(), node.acquire("demo").await.unwrap());
    assert!(first.ends_a_wake() && !second.ends_a_wake());
    second.tell_answered();
    drop(second);
    first.tell_answered();
    drop(first);
    node.wait_for("demo", |view| view.wakes.len() == 1).await;
}

/// Freezes and thaws as the spawner was asked for them.
fn asked_to(requests: &[Request], replica: &ReplicaId) -> Vec<&'static str> {
    let of = |request: &Request| match request {
        Request::Freeze { replica: it } if it == replica => Some("freeze"),
        Request::Thaw { replica: it } if it == replica => Some("thaw"),
        _ => None,
    };
    requests.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_between_a_freeze_and_its_answer_gets_the_replica_and_nothing_stops_it_again() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.try_deploy(EndpointRequest { max_replicas: Some(1), ..named("demo") }, "demo").await.unwrap();
    let lease = node.acquire("demo").await.unwrap();
    let replica = lease.replica().clone();
    node.spawner.hold_answers_to_freezes();
    drop(lease);
    node.spawner.wait_for(|state| (asked_to(&state.requests, &replica) == ["freeze"]).then_some(())).await;
    let lease = node.acquire("demo").await.unwrap();
    assert_eq!(*lease.replica(), replica, "granted at once");
    node.spawner.wait_for(|state| (asked_to(&state.requests, &replica) == ["freeze", "thaw"]).then_some(())).await;
    // The freeze had ended before it was undone, and is told late.
    node.spawner.tell(Event::Frozen { replica: replica.clone() });
    tokio::time::sleep(SECOND).await;
    assert_eq!(phase(&node), Some(Phase::Ready));
    drop(lease);
    assert_eq!(*node.acquire("demo").await.unwrap().replica(), replica);
}

#[tokio::test(start_paused = true)]
async fn a_request_at_the_end_of_a_freeze_that_is_given_up_gets_the_replica() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.try_deploy(EndpointRequest { max_replicas: Some(1), ..named("demo") }, "demo").await.unwrap();
    let lease = node.acquire("demo").await.unwrap();
    let replica = lease.replica().clone();
    node.spawner.hold_answers_to_freezes();
    drop(lease);
    node.spawner.wait_for(|state| (asked_to(&state.requests, &replica) == ["freeze"]).then_some(())).await;
    let cause = Some("its processes did not come to rest in time".to_owned());
    node.spawner.tell(Event::Thawed { replica: replica.clone(), cause });
    let lease = node.acquire("demo").await.unwrap();
    assert_eq!(*lease.replica(), replica);
    tokio::time::sleep(SECOND).await;
    assert_eq!(phase(&node), Some(Phase::Ready));
}
