use dormouse_controller::{Condition, LinkError, Phase, SpawnerLink};
use dormouse_sandbox::{
    channel::{Channel, pair},
    messages::{Event, ReplicaId, ReplicaSpec, ReplicaState, Request},
};
use dormouse_spec::EndpointRequest;
use tokio::runtime::{Builder, Runtime};

use crate::node::{Disk, Node, REPLICA_MEMORY, named, settings, until};

/// What one node process has; dropping it is the process's death.
fn process() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Deploys `demo` and tells what a replica of it is made of.
fn first_life(disk: &Disk) -> ReplicaSpec {
    process().block_on(async {
        let node = Node::start(disk).await;
        let request = EndpointRequest { alias: Some("Demo_1".parse().unwrap()), ..named("demo") };
        node.try_deploy(request, "demo").await.unwrap();
        drop(node.acquire("demo").await.unwrap());
        node.spawner.created().pop().unwrap()
    })
}

fn renamed(spec: &ReplicaSpec, id: &str) -> ReplicaSpec {
    ReplicaSpec { replica: ReplicaId::try_from(id.to_owned()).unwrap(), ..spec.clone() }
}

fn clear_sockets(disk: &Disk) {
    for entry in std::fs::read_dir(disk.run.path().join("sockets")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

#[test]
fn living_replicas_are_adopted_as_they_are_and_strangers_end() {
    let disk = Disk::new();
    let spec = first_life(&disk);
    clear_sockets(&disk);
    let outdated = renamed(&spec, "demo-7-1");
    let stranger = renamed(&spec, "stranger-1-1");
    let frozen = renamed(&spec, "demo-1-1");
    let living = vec![
        (spec.clone(), ReplicaState::Ready),
        (frozen.clone(), ReplicaState::Frozen),
        (outdated.clone(), ReplicaState::Ready),
        (stranger.clone(), ReplicaState::Ready),
    ];
    process().block_on(async {
        let node = Node::start_with(settings(&disk), living).await;
        assert_eq!(node.view("Demo_1").revision, 1);
        node.spawner
            .wait_for(|state| {
                let gone = [&outdated, &stranger].iter().all(|it| !state.replicas.contains_key(&it.replica));
                gone.then_some(())
            })
            .await;
        let lease = node.acquire("demo").await.unwrap();
        assert_eq!(*lease.replica(), spec.replica);
        assert!(node.spawner.created().is_empty(), "nothing was started anew");
        let view = node.wait_for("demo", |view| view.replicas.len() == 2).await;
        assert!(view.replicas.iter().all(|it| it.started_at_ms == 42));
        assert!(view.replicas.iter().any(|it| it.id == frozen.replica && it.phase == Phase::Frozen));
        let used = format!("dormouse_memory_used_bytes {}", 2 * REPLICA_MEMORY.get());
        until(|| node.metrics().contains(&used)).await;
    });
}

#[test]
fn a_replica_found_loading_serves_once_it_is_ready() {
    let disk = Disk::new();
    let spec = first_life(&disk);
    clear_sockets(&disk);
    process().block_on(async {
        let node = Node::start_with(settings(&disk), vec![(spec.clone(), ReplicaState::Starting)]).await;
        let asked = node.ask("demo");
        node.wait_for("demo", |view| view.waiters == 1).await;
        node.spawner.finish(&spec.replica);
        assert_eq!(*asked.await.unwrap().unwrap().replica(), spec.replica);
    });
}

#[test]
fn an_endpoint_whose_state_cannot_be_read_fails_alone() {
    let disk = Disk::new();
    first_life(&disk);
    std::fs::write(disk.state_of("torn"), "{").unwrap();
    clear_sockets(&disk);
    process().block_on(async {
        let node = Node::start(&disk).await;
        let torn = node.view("torn");
        assert_eq!(torn.condition, Condition::Failed);
        assert!(torn.last_failure.as_ref().unwrap().contains("torn.json"));
        node.acquire("demo").await.unwrap();
        assert_eq!(node.deploy("torn").await.revision, 1);
    });
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_channel_is_told() {
    let disk = Disk::new();
    let (ours, theirs) = pair().unwrap();
    let spawner = crate::spawner::Spawner::start(disk.run.path().to_owned(), theirs, Vec::new());
    let (link, welcome) = SpawnerLink::connect(ours).await.unwrap();
    assert_eq!((welcome.listeners.len(), welcome.settings.as_str()), (1, "[gateway]"));
    let closed = link.closed();
    let registry = prometheus::Registry::new();
    let controller =
        dormouse_controller::Controller::start(settings(&disk), link, welcome.replicas, &registry).await.unwrap();
    spawner.go();
    closed.await;
    drop(controller);
}

#[tokio::test(start_paused = true)]
async fn another_version_or_no_spawner_is_refused() {
    let (ours, theirs) = pair().unwrap();
    let spawner = Channel::<Event, Request>::new(theirs);
    let (instance, settings) = (String::new(), String::new());
    spawner
        .try_send(
            &Event::Welcome {
                version: 999,
                instance,
                settings,
                listeners: Vec::new(),
                image_ids: dormouse_sandbox::messages::ImageIdsMode::Distinct,
            },
            &[],
        )
        .unwrap();
    assert!(matches!(SpawnerLink::connect(ours).await.unwrap_err(), LinkError::Version { theirs: 999, .. }));

    let (ours, theirs) = pair().unwrap();
    drop(theirs);
    assert!(SpawnerLink::connect(ours).await.is_err());
}

#[test]
fn what_a_replica_said_before_the_node_ended_can_still_be_read() {
    let disk = Disk::new();
    let dead = process().block_on(async {
        let node = Node::start(&disk).await;
        node.deploy("demo").await;
        let lease = node.acquire("demo").await.unwrap();
        let id = lease.replica().clone();
        node.spawner.look(|state| state.replicas.get_mut(&id).unwrap().print("last words\n"));
        let file = disk.run.path().join("logs").join(format!("{id}.log"));
        until(|| std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with(" last words\n"))).await;
        id
    });
    clear_sockets(&disk);
    process().block_on(async {
        let node = Node::start(&disk).await;
        let mut lines = node.controller.logs("demo", dormouse_controller::LogQuery::default()).await.unwrap();
        assert_eq!(lines.recv().await.unwrap(), format!("{dead} last words"));
    });
}
