//! Replicas that are forked from a template, from the first request to a restart of the node.

use std::time::Duration;

use dormouse_controller::{ControllerSettings, EndpointView, Lease, Phase, Preparation, Rung, TemplateUse, WakePhase};
use dormouse_sandbox::messages::{ExitCause, Fork, Origin, ReplicaId, ReplicaSpec, ReplicaState, Request, Work};
use dormouse_spec::{Bytes, Digest, EndpointRequest};

use crate::{
    node::{Disk, Node, REPLICA_MEMORY, SECOND, named, settings, until},
    spawner::Start,
};

/// A node that prepares models.
async fn node(disk: &Disk) -> Node {
    Node::start_with(preparing(disk), Vec::new()).await
}

fn preparing(disk: &Disk) -> ControllerSettings {
    ControllerSettings { prepare_for: Some(Digest::from_sha256([7; 32])), ..settings(disk) }
}

/// One request for each replica, and a template that is kept for an hour.
fn demo() -> EndpointRequest {
    EndpointRequest {
        container_concurrency: Some(1),
        max_replicas: Some(3),
        keep_template: Some(3600 * SECOND),
        ..named("demo")
    }
}

async fn deployed(disk: &Disk) -> Node {
    let node = node(disk).await;
    node.try_deploy(demo(), "demo").await.unwrap();
    node.wait_for("demo", |view| view.replicas.is_empty()).await;
    node.spawner.look(|state| state.requests.clear());
    node
}

fn works(node: &Node) -> Vec<Work> {
    node.spawner.created().into_iter().map(|spec| spec.work().unwrap().clone()).collect()
}

fn template_of(node: &Node) -> ReplicaId {
    let is_template = |spec: &ReplicaSpec| matches!(spec.work(), Some(Work::Template { .. }));
    node.spawner.created().into_iter().rfind(is_template).expect("a template was created").replica
}

fn is_fork(node: &Node, lease: &Lease, template: &ReplicaId) -> bool {
    let of = |spec: &ReplicaSpec| spec.replica == *lease.replica();
    let fork = Work::Fork { template: template.clone() };
    node.spawner.created().into_iter().find(of).is_some_and(|spec| spec.work() == Some(&fork))
}

fn stopped(requests: &[Request], replica: &ReplicaId) -> bool {
    requests.contains(&Request::Stop { replica: replica.clone(), grace_ms: 0 })
}

#[tokio::test(start_paused = true)]
async fn replicas_are_forked_from_one_template_that_is_none_of_them() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    assert_eq!(node.view("demo").template, TemplateUse::None);
    let mut leases = Vec::new();
    for _ in 0..3 {
        let lease = node.acquire("demo").await.unwrap();
        lease.tell_answered();
        leases.push(lease);
    }
    let Some(Preparation::Prepared { key, .. }) = node.view("demo").preparation.clone() else {
        panic!("{:?}", node.view("demo").preparation)
    };
    let template = template_of(&node);
    let fork = Work::Fork { template: template.clone() };
    assert_eq!(works(&node), [Work::Template { prepared: key }, fork.clone(), fork.clone(), fork]);

    let view = node.wait_for("demo", |view| view.wakes.len() == 3).await;
    assert_eq!(view.template, TemplateUse::Ready { forks: 3 });
    let [told] = &view.templates[..] else { panic!("{:?}", view.templates) };
    assert_eq!((&told.id, told.phase, told.forks, told.started_at_ms), (&template, Phase::Ready, 3, 42));
    assert_eq!(view.replicas.len(), 3);
    assert!(view.replicas.iter().all(|it| it.id != template));
    let first = view.wakes.last().unwrap();
    assert_eq!((first.rung, first.origin), (Rung::Forked, Some(Origin::Forked(Fork { fork: 1, order_us: 300 }))));
    let phases = |view: &EndpointView, wake: usize| -> Vec<WakePhase> {
        view.wakes[wake].phases.iter().map(|(phase, _)| *phase).collect()
    };
    assert_eq!(phases(&view, 2)[..3], [WakePhase::Queue, WakePhase::Template, WakePhase::Fork]);
    assert_eq!(phases(&view, 0)[..2], [WakePhase::Queue, WakePhase::Fork]);
    let used = format!("dormouse_memory_used_bytes {}", 4 * REPLICA_MEMORY.get());
    until(|| node.metrics().contains(&used)).await;
    let metrics = node.metrics();
    for series in [
        r#"dormouse_templates{endpoint="demo",phase="ready"} 1"#,
        r#"dormouse_replicas{endpoint="demo",phase="ready"} 3"#,
        r#"dormouse_starts_total{endpoint="demo",result="ok",rung="forked"} 3"#,
        r#"dormouse_wake_phase_seconds_count{phase="template",rung="forked"} 1"#,
        "dormouse_fork_seconds_count 3",
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_crashes_is_forked_again() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    let lease = node.acquire("demo").await.unwrap();
    let cause = ExitCause::Signal { signal: 11 };
    node.spawner.kill(lease.replica(), cause.clone());
    assert_eq!(lease.lost().await, cause.into());
    let next = node.acquire("demo").await.unwrap();
    assert!(is_fork(&node, &next, &template_of(&node)));
    assert_eq!(works(&node).len(), 3, "one template, two replicas");
}

#[tokio::test(start_paused = true)]
async fn where_the_template_fails_replicas_load_for_themselves_and_why_is_told() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    node.spawner.script([Start::LoadFails("it has 2 threads".to_owned())]);
    let lease = node.acquire("demo").await.unwrap();
    assert!(
        matches!(works(&node)[..], [Work::Template { .. }, Work::Serve { prepared: Some(_) }]),
        "{:?}",
        works(&node)
    );
    let view = node.view("demo");
    assert_eq!(view.template, TemplateUse::HeldBack { cause: "it has 2 threads".to_owned() });
    assert!(view.last_failure.as_ref().unwrap().contains("it has 2 threads"), "{view:?}");
    node.wait_for("demo", |view| view.template == TemplateUse::None && view.templates.is_empty()).await;
    let next = node.acquire("demo").await.unwrap();
    assert!(is_fork(&node, &next, &template_of(&node)));
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn where_forking_fails_the_request_gets_another_replica() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    node.spawner.script([Start::Ready, Start::Dies(ExitCause::Code { code: 1 })]);
    node.acquire("demo").await.unwrap();
    let expected = matches!(works(&node)[..], [Work::Template { .. }, Work::Fork { .. }, Work::Serve { .. }]);
    assert!(expected, "{:?}", works(&node));
    assert!(node.metrics().contains(r#"dormouse_starts_total{endpoint="demo",result="failed",rung="forked"} 1"#));
    let template = template_of(&node);
    node.spawner.wait_for(|state| stopped(&state.requests, &template).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_template_is_told_to_who_holds_its_replicas() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    let leases = [node.acquire("demo").await.unwrap(), node.acquire("demo").await.unwrap()];
    node.spawner.kill(&template_of(&node), ExitCause::Signal { signal: 9 });
    for lease in leases {
        assert_eq!(lease.lost().await, ExitCause::TemplateEnded.into());
    }
    let next = node.acquire("demo").await.unwrap();
    assert!(!is_fork(&node, &next, &template_of(&node)), "no back-off, and no template for a while");
}

#[tokio::test(start_paused = true)]
async fn a_template_outlives_its_replicas_and_is_stopped_at_last() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    drop(node.acquire("demo").await.unwrap());
    let view = node.wait_for("demo", |view| view.replicas.is_empty()).await;
    assert_eq!(view.template, TemplateUse::Ready { forks: 0 });
    drop(node.acquire("demo").await.unwrap());
    assert_eq!(works(&node).len(), 3, "it was forked again");
    node.wait_for("demo", |view| view.replicas.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3590)).await;
    assert_eq!(node.view("demo").templates.len(), 1);
    tokio::time::sleep(Duration::from_secs(11)).await;
    node.wait_for("demo", |view| view.templates.is_empty() && view.template == TemplateUse::None).await;
    assert!(node.metrics().contains("dormouse_memory_used_bytes 0"));
}

#[tokio::test(start_paused = true)]
async fn a_template_without_replicas_makes_room_for_another_endpoint() {
    let disk = Disk::new();
    let all = Bytes::new(REPLICA_MEMORY.get() * 5);
    let node = Node::start_with(ControllerSettings { memory_budget: all, ..preparing(&disk) }, Vec::new()).await;
    node.try_deploy(demo(), "demo").await.unwrap();
    drop(node.acquire("demo").await.unwrap());
    node.wait_for("demo", |view| view.replicas.is_empty() && view.templates.len() == 1).await;
    node.try_deploy(EndpointRequest { memory: Some(all), ..named("large") }, "large").await.unwrap();
    node.acquire("large").await.unwrap();
    node.wait_for("demo", |view| view.templates.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_leaves_no_template() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    drop(node.acquire("demo").await.unwrap());
    let template = template_of(&node);
    node.controller.delete(&"demo".parse().unwrap()).await.unwrap();
    node.spawner.look(|state| {
        assert!(state.replicas.is_empty());
        assert!(stopped(&state.requests, &template));
    });
    assert!(!node.metrics().contains(r#"endpoint="demo""#));
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_has_a_template_of_its_own() {
    let disk = Disk::new();
    let node = deployed(&disk).await;
    drop(node.acquire("demo").await.unwrap());
    let before = template_of(&node);
    let held = node.acquire("demo").await.unwrap();
    node.try_deploy(demo(), "another model").await.unwrap();
    let view = node.wait_for("demo", |view| view.template == TemplateUse::None).await;
    let told: Vec<_> = view.templates.iter().map(|it| (&it.id, it.phase, it.forks)).collect();
    assert_eq!(told, [(&before, Phase::Draining, 1)], "while a replica of it serves");
    drop(held);
    node.spawner.wait_for(|state| (!state.replicas.contains_key(&before)).then_some(())).await;
    let lease = node.acquire("demo").await.unwrap();
    let template = template_of(&node);
    assert_eq!(template.revision(), 2);
    assert!(is_fork(&node, &lease, &template));
}

#[tokio::test(start_paused = true)]
async fn why_there_can_be_no_template_is_told() {
    let disk = Disk::new();
    let node = node(&disk).await;
    node.try_deploy(named("unasked"), "a").await.unwrap();
    assert_eq!(node.view("unasked").template, TemplateUse::Off);
    let threads = EndpointRequest { intra_op_threads: Some(2), keep_template: Some(SECOND), ..named("threads") };
    node.try_deploy(threads, "b").await.unwrap();
    let impossible = TemplateUse::Impossible { reason: "2 intra-op threads".to_owned() };
    assert_eq!(node.view("threads").template, impossible);
    node.spawner.script([Start::Ready, Start::LoadFails("it draws random numbers".to_owned())]);
    node.try_deploy(EndpointRequest { keep_template: Some(SECOND), ..named("random") }, "c").await.unwrap();
    let reason = "its model is not prepared: it draws random numbers".to_owned();
    assert_eq!(node.view("random").template, TemplateUse::Impossible { reason });
    node.acquire("random").await.unwrap();
    assert!(!works(&node).iter().any(|work| matches!(work, Work::Template { .. })));
}

/// What one node process has; dropping it is the process's death.
fn process() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn a_template_that_outlived_the_node_is_forked_from_and_one_of_no_endpoint_ends() {
    let disk = Disk::new();
    let (template, fork) = process().block_on(async {
        let node = deployed(&disk).await;
        node.acquire("demo").await.unwrap();
        let mut created = node.spawner.created();
        (created.remove(0), created.remove(0))
    });
    for entry in std::fs::read_dir(disk.run.path().join("sockets")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let renamed = |id: &str, work: Work| {
        ReplicaSpec { replica: ReplicaId::try_from(id.to_owned()).unwrap(), ..template.clone() }.with_work(work)
    };
    let work_of_template = template.work().unwrap().clone();
    let stray = renamed("stranger-1-1", work_of_template.clone());
    let of_stray = renamed("stranger-1-2", Work::Fork { template: stray.replica.clone() });
    let outdated = renamed("demo-7-1", work_of_template.clone());
    // What was prepared then is not what is prepared now; what was forked from it serves as well as any.
    let other = renamed("demo-1-5", Work::Template { prepared: Digest::from_sha256([9; 32]) });
    let of_other = renamed("demo-1-6", Work::Fork { template: other.replica.clone() });
    let ready = |spec: &ReplicaSpec| (spec.clone(), ReplicaState::Ready);
    let living = [&template, &fork, &stray, &of_stray, &outdated, &other, &of_other].map(ready).to_vec();
    process().block_on(async {
        let node = Node::start_with(preparing(&disk), living).await;
        node.spawner.wait_for(|state| (state.replicas.len() == 4).then_some(())).await;
        let view = node.wait_for("demo", |view| view.templates.len() == 2).await;
        assert_eq!(view.template, TemplateUse::Ready { forks: 1 });
        let phase = |of: &ReplicaSpec| view.templates.iter().find(|it| it.id == of.replica).map(|it| it.phase);
        assert_eq!([&template, &other].map(phase), [Some(Phase::Ready), Some(Phase::Draining)]);
        let leases = [node.acquire("demo").await.unwrap(), node.acquire("demo").await.unwrap()];
        let mut granted = leases.each_ref().map(Lease::replica);
        granted.sort();
        let mut living = [&fork.replica, &of_other.replica];
        living.sort();
        assert_eq!(granted, living);
        assert!(node.spawner.created().is_empty(), "nothing was started anew");
        let next = node.acquire("demo").await.unwrap();
        assert!(is_fork(&node, &next, &template.replica));
        let used = format!("dormouse_memory_used_bytes {}", 5 * REPLICA_MEMORY.get());
        until(|| node.metrics().contains(&used)).await;
    });
}
