use dormouse_controller::{Condition, DeployError, DeployRequest, DeployStep};
use dormouse_sandbox::messages::{ExitCause, Request};
use dormouse_spec::{Bytes, EndpointRequest};
use tokio::sync::mpsc;

use crate::{
    node::{Disk, Node, REPLICA_MEMORY, name, named},
    spawner::Start,
};

#[tokio::test(start_paused = true)]
async fn the_first_deploy_probes_and_leaves_nothing_running() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.spawner.script([Start::Hold]);
    let (progress, mut steps) = mpsc::channel(64);
    let request = DeployRequest { endpoint: named("demo"), files: Vec::new(), sample: None };
    assert!(matches!(node.controller.deploy(request, progress.clone()).await, Err(DeployError::Invalid(_))));
    assert_eq!(node.view("demo").condition, Condition::Failed);

    let deploy = node.try_deploy(named("demo"), "demo");
    let probe = async {
        let probe = node.spawner.wait_for(|state| state.replicas.keys().next().cloned()).await;
        assert_eq!(node.view("demo").condition, Condition::Deploying);
        node.spawner.finish(&probe);
    };
    let (deployed, ()) = tokio::join!(deploy, probe);
    assert_eq!(deployed.unwrap().revision, 1);
    let view = node.view("demo");
    assert_eq!((view.condition, view.revision), (Condition::Ready, 1));
    assert_eq!(view.metadata.value()["versions"][0], "1");
    node.spawner.wait_for(|state| state.replicas.is_empty().then_some(())).await;
    drop(progress);
    assert!(steps.recv().await.is_none_or(|step| step != DeployStep::Committing));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_load_leaves_the_old_revision_serving() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    for (start, told) in [
        (Start::LoadFails("opset 99".to_owned()), "opset 99"),
        (Start::Dies(ExitCause::OutOfMemory { limit_bytes: 1 << 20 }), "out of memory"),
        (Start::Hold, "start deadline"),
    ] {
        node.spawner.script([start]);
        let error = node.try_deploy(named("demo"), "other").await.unwrap_err();
        assert!(matches!(&error, DeployError::Model { reason } if reason.contains(told)), "{error}");
        let view = node.wait_for("demo", |view| view.last_failure.is_some()).await;
        assert_eq!((view.revision, view.condition), (1, Condition::Ready));
        assert!(view.last_failure.as_ref().unwrap().contains(told));
    }
    assert!(node.acquire("demo").await.unwrap().replica().as_str().starts_with("demo-1-"));
    assert_eq!(disk.models(), 1, "what is not served is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_takes_the_traffic_and_the_old_ends_with_its_last_request() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.deploy("demo").await;
    let old = node.acquire("demo").await.unwrap();
    node.try_deploy(named("demo"), "better").await.unwrap();
    assert_eq!(node.view("demo").revision, 2);
    let new = node.acquire("demo").await.unwrap();
    assert!(new.replica().as_str().starts_with("demo-2-"));
    let old_id = old.replica().clone();
    node.spawner.look(|state| assert!(state.replicas.contains_key(&old_id)));
    drop(old);
    node.spawner.wait_for(|state| (!state.replicas.contains_key(&old_id)).then_some(())).await;
    assert_eq!(disk.models(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_two_endpoints_have_is_kept_until_both_are_gone() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    for name in ["a", "b"] {
        node.try_deploy(named(name), "shared").await.unwrap();
    }
    node.controller.delete(&name("a")).await.unwrap();
    assert_eq!(disk.models(), 1);
    node.controller.delete(&name("b")).await.unwrap();
    assert_eq!(disk.models(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_never_fits_is_refused_before_anything_starts() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 1).await;
    let needs = Bytes::new(REPLICA_MEMORY.get() + 1);
    let error = node.try_deploy(EndpointRequest { memory: Some(needs), ..named("demo") }, "demo").await.unwrap_err();
    assert!(matches!(error, DeployError::NeverFits { budget: REPLICA_MEMORY, .. }), "{error}");
    let error = node.try_deploy(EndpointRequest { min_replicas: Some(2), ..named("demo") }, "demo").await.unwrap_err();
    assert!(error.to_string().contains("minReplicas"), "{error}");
    assert!(node.spawner.created().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_deploy_at_a_time_and_one_endpoint_for_a_name() {
    let disk = Disk::new();
    let node = Node::start(&disk).await;
    node.spawner.script([Start::Hold]);
    let first = EndpointRequest { alias: Some("Silero_VAD".parse().unwrap()), ..named("demo") };
    let deploy = node.try_deploy(first.clone(), "demo");
    let meanwhile = async {
        let probe = node.spawner.wait_for(|state| state.replicas.keys().next().cloned()).await;
        let error = node.try_deploy(named("demo"), "demo").await.unwrap_err();
        assert!(matches!(error, DeployError::Busy(_)), "{error}");
        let error =
            node.try_deploy(EndpointRequest { name: name("other"), ..first.clone() }, "demo").await.unwrap_err();
        assert!(matches!(&error, DeployError::Invalid(text) if text.contains("Silero_VAD")), "{error}");
        node.spawner.finish(&probe);
    };
    tokio::join!(deploy, meanwhile).0.unwrap();
    assert_eq!(node.view("Silero_VAD").endpoint.name, name("demo"));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_replica_of_the_endpoint_itself_makes_room_for_its_probe() {
    let disk = Disk::new();
    let node = Node::with_room_for(&disk, 1).await;
    node.deploy("demo").await;
    drop(node.acquire("demo").await.unwrap());
    assert_eq!(node.try_deploy(named("demo"), "better").await.unwrap().revision, 2);
    let stops = node
        .spawner
        .look(|state| state.requests.iter().filter(|request| matches!(request, Request::Stop { .. })).count());
    assert!(stops >= 2);
}
