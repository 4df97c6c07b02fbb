//! Processes of images as the node knows them: sockets, signals, freezes, their layers and their end.

use std::{fs, time::Instant};

use dormouse_driver::{
    Daemon,
    images::{PORT, archive, as_user, image, run_on, web, with},
    layers::digest,
    machine,
    script::{read_log, replica},
};
use dormouse_sandbox::messages::{
    CreatePhases, Event, ExitCause, ImageIdsMode, Origin, ReplicaState, Request, SocketKind,
};
use rustix::process::Signal;

use crate::images::Stage;

pub(crate) fn sockets_are_of_running_processes_of_images_alone() {
    let mut stage = Stage::set();
    let worker = replica();
    stage.node.start(&worker);
    let reason = stage.node.socket_in(&worker.replica).unwrap_err();
    assert!(reason.contains("no process of an image"), "{reason}");
    let spec = stage.web("web");
    let reason = stage.node.socket_in(&spec.replica).unwrap_err();
    assert!(reason.contains("no such replica"), "{reason}");
    stage.node.ask(&Request::Create(Box::new(spec.clone())));
    stage.node.ask(&Request::Socket { replica: spec.replica.clone(), kind: SocketKind::Network });
    match stage.node.of(&spec.replica) {
        // It is being made.
        Event::NoSocket { .. } => drop(stage.node.created(&spec.replica)),
        // It was, before the other question came.
        Event::Created { .. } => assert!(matches!(stage.node.of(&spec.replica), Event::Socket { .. })),
        other => panic!("{other:?}"),
    }
    drop(stage.node.connect(&spec.replica, PORT));
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        drop(stage.node.socket_in(&spec.replica).unwrap());
        times.push(begun.elapsed());
    }
    times.sort();
    println!("a socket is there after {:?} at the median, {:?} at most", times[100], times[199]);
    stage.stop(&spec.replica);
    assert!(stage.node.socket_in(&spec.replica).is_err());
    stage.end();
}

pub(crate) fn the_daemon_is_where_it_was_and_holds_nothing_of_the_dead() {
    let mut stage = Stage::set();
    let network = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let pid = stage.daemon.pid();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (before, at_first) = (network(pid), open());
    for serial in 0..3 {
        let spec = web("web", serial, &[stage.layer]);
        stage.node.start_image(&spec);
        drop(stage.node.connect(&spec.replica, PORT));
        let inside = machine::process(&stage.daemon.group(), &spec.replica);
        assert_ne!(network(inside), before);
        assert_eq!(network(pid), before);
        stage.stop(&spec.replica);
    }
    assert_eq!(open(), at_first);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert!(!mounts.contains("overlay dormouse"), "{mounts}");
    stage.end();
}

/// Sockets that a node does not take are not piled up.
pub(crate) fn a_flood_of_sockets_has_an_end() {
    let mut stage = Stage::set();
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    drop(stage.node.connect(&spec.replica, PORT));
    let mut asked = 0;
    while asked < 4_000 {
        match stage.node.try_ask(&Request::Socket { replica: spec.replica.clone(), kind: SocketKind::Network }) {
            Ok(()) => asked += 1,
            // The spawner reads on, whether it is heard or not.
            Err(dormouse_sandbox::channel::ChannelError::Full) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let mut sockets = 0;
    for _ in 0..asked {
        match stage.node.of(&spec.replica) {
            Event::Socket { .. } => sockets += 1,
            Event::NoSocket { reason, .. } => assert!(reason.contains("too many sockets"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(sockets > 0 && sockets < asked, "{sockets}");
    assert_eq!(stage.node.run_in(&spec.replica, "echo alive"), "alive");
    stage.end();
}

pub(crate) fn a_connection_to_a_frozen_process_waits() {
    let mut stage = Stage::set();
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    let connection = stage.node.connect(&spec.replica, PORT);
    stage.node.freeze(&spec.replica);
    let late = stage.node.try_connect(&spec.replica, PORT).expect("the kernel takes it");
    stage.node.thaw(&spec.replica);
    assert_eq!(run_on(connection, "echo first"), "first");
    assert_eq!(run_on(late, "echo second"), "second");
    stage.node.freeze(&spec.replica);
    stage.stop(&spec.replica);
    stage.end();
}

pub(crate) fn the_images_signal_ends_it_and_else_the_grace() {
    let mut stage = Stage::set();
    // busybox sleeps in a child and is woken by a signal that it has a handler for.
    let script = "trap 'echo bye; exit 3' USR1; echo up; while :; do sleep 1000 & wait $!; done";
    let usr1 = with(stage.sh("usr", script), |payload| payload.stop_signal = "SIGUSR1".parse().unwrap());
    let log = stage.node.start_image(&usr1).log;
    let mut first = [0; 3];
    std::io::Read::read_exact(&mut fs::File::from(log.try_clone().unwrap()), &mut first).unwrap();
    stage.node.stop(&usr1.replica, 60_000);
    assert_eq!(stage.node.exit_cause(&usr1.replica), ExitCause::Stopped);
    assert_eq!((&first, read_log(log).as_str()), (b"up\n", "bye\n"));
    // The first process of a pid namespace sees no signal that it has no handler for.
    let deaf = stage.sh("deaf", "exec sleep 1000");
    stage.node.start_image(&deaf);
    let begun = Instant::now();
    stage.node.stop(&deaf.replica, 300);
    assert_eq!(stage.node.exit_cause(&deaf.replica), ExitCause::Stopped);
    assert!(begun.elapsed().as_millis() >= 300);
    stage.end();
}

pub(crate) fn what_cannot_be_executed_is_named() {
    let mut stage = Stage::set();
    let cases = [
        ("nope", 127, "`nope` is not in the image's PATH"),
        ("/bin/nope", 127, "`/bin/nope` is not in the image"),
        ("/etc/passwd", 126, "`/etc/passwd` cannot be executed: EACCES"),
        ("/www", 126, "`/www` cannot be executed: EACCES"),
    ];
    for (serial, (program, status, text)) in (1..).zip(cases) {
        let spec = as_user(image("program", serial, &[stage.layer], &[program]), "web");
        let log = stage.node.start_image(&spec).log;
        assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::Code { code: status }, "{program}");
        let log = read_log(log);
        assert!(log.contains(text), "{log}");
    }
    let in_directory = |directory: &str, read_only_root| {
        let says = "pwd; stat -c '%a %u' /new /new/place";
        with(as_user(stage.sh("directory", says), "web"), |payload| {
            payload.working_dir = directory.to_owned();
            payload.read_only_root = read_only_root;
        })
    };
    let (read_only, of_file, made) =
        (in_directory("/nowhere", true), in_directory("/etc/passwd/below", false), in_directory("/new/place", false));
    for (spec, directory) in [(read_only, "`/nowhere`"), (of_file, "`/etc/passwd/below`")] {
        let reason = stage.refusal(&spec);
        assert!(reason.contains(directory), "{reason}");
    }
    // As runc does it.
    let log = stage.node.start_image(&made).log;
    assert_eq!(stage.node.exit_cause(&made.replica), ExitCause::Code { code: 0 });
    assert_eq!(read_log(log), "/new/place\n755 0\n755 0\n");
    let spec = with(stage.web("directory"), |payload| payload.working_dir = "www".to_owned());
    assert!(stage.refusal(&spec).contains("absolute"));
    let spec = image("program", 9, &[stage.layer], &[]);
    assert!(stage.refusal(&spec).contains("program"));
    stage.end();
}

pub(crate) fn a_layer_stays_while_a_replica_uses_it() {
    let mut stage = Stage::set();
    let missing = digest(b"missing");
    let reason = stage.refusal(&web("missing", 1, &[stage.layer, missing]));
    assert!(reason.contains(&missing.to_string()), "{reason}");
    let spec = stage.web("web");
    stage.node.start_image(&spec);
    let (layer, id) = (stage.layer, spec.replica.clone());
    stage.node.ask(&Request::RemoveLayer { diff_id: layer });
    match stage.node.of_layer(&layer) {
        Event::LayerFailed { reason, .. } => assert!(reason.contains(id.as_str()), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.node.run_in(&id, "echo here"), "here");
    stage.stop(&id);
    stage.node.remove_layer(&layer);
    assert!(stage.refusal(&web("web", 2, &[layer])).contains(&layer.to_string()));
    // Again, and with a removal that waits behind the replica's creation.
    let layer = stage.unpack(archive());
    stage.node.ask(&Request::Create(Box::new(web("web", 3, &[layer]))));
    stage.node.ask(&Request::RemoveLayer { diff_id: layer });
    assert!(matches!(stage.node.of_layer(&layer), Event::LayerFailed { .. }));
    stage.node.created(&web("web", 3, &[layer]).replica);
    stage.end();
}

pub(crate) fn a_restarted_node_reaches_it_again() {
    let mut stage = Stage::set();
    let (running, frozen) = (stage.web("running"), stage.web("frozen"));
    for spec in [&running, &frozen] {
        stage.node.start_image(spec);
        drop(stage.node.connect(&spec.replica, PORT));
    }
    stage.node.freeze(&frozen.replica);
    stage.node.signal(Signal::KILL);
    stage.node.wait_until_closed();
    stage.node = stage.daemon.node();
    let mut states: Vec<_> = stage.node.adopted.iter().map(|(report, _)| (report.spec.clone(), report.state)).collect();
    states.sort_by(|(one, _), (other, _)| one.replica.cmp(&other.replica));
    assert_eq!(states, [(frozen.clone(), ReplicaState::Frozen), (running.clone(), ReplicaState::Starting)]);
    stage.node.thaw(&frozen.replica);
    for spec in [&running, &frozen] {
        assert_eq!(stage.node.run_in(&spec.replica, "echo again"), "again");
    }
    stage.end();
}

pub(crate) fn limits_hold_for_it_as_for_a_worker() {
    let mut stage = Stage::set();
    let spec = stage.web("limits");
    stage.node.start_image(&spec);
    let told = stage.node.run_in(&spec.replica, "for i in $(seq 100); do sleep 1000 >/dev/null 2>&1 & done; echo made");
    assert!(told.contains("fork") || told.is_empty() || !told.contains("made"), "{told}");
    if machine::is_v1() {
        // Buffers of its sockets are counted apart there, where the kernel counts them.
        let (group, id) = (stage.daemon.group(), &spec.replica);
        let sockets = ("memory", "memory.kmem.tcp.limit_in_bytes");
        if std::path::Path::new("/sys/fs/cgroup/memory").join(sockets.1).exists() {
            let limit = spec.limits.memory.get().to_string();
            assert_eq!(machine::interface(&group, id, sockets, sockets.1), limit);
        }
    }
    stage.stop(&spec.replica);
    let eats = stage.sh("eats", "x=$(dd if=/dev/zero bs=1M count=200 | tr '\\0' a); echo ${#x}");
    stage.node.start_image(&eats);
    assert!(matches!(stage.node.exit_cause(&eats.replica), ExitCause::OutOfMemory { .. }));
    stage.end();
}

/// As on a machine that cannot show layers with other ids: here there is no room for any.
pub(crate) fn without_ranges_all_images_share_their_files_ids() {
    let mut daemon = Daemon::start_with(|settings| settings.image_id_base = LAST_IMAGE_ID_BASE);
    let mut node = daemon.node();
    let Some(ImageIdsMode::Shared { reason }) = &node.image_ids else { panic!("{:?}", node.image_ids) };
    assert!(reason.contains("image_id_base"), "{reason}");
    let layer = node.unpack_image(&daemon.settings.data.clone(), archive());
    for endpoint in ["one", "two"] {
        let spec = as_user(web(endpoint, 1, &[layer]), "web");
        node.start_image(&spec);
        let told = node.run_in(&spec.replica, "cat /proc/self/uid_map; stat -c %u /bin/busybox; touch /tmp/new; id -u");
        let words: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(words, ["0", &LAST_IMAGE_ID_BASE.to_string(), "65536", "0", "33"]);
    }
    daemon.end(node);
}

/// Above its ids there is room for no others.
const LAST_IMAGE_ID_BASE: u32 = 2_147_352_576 - 65_536;

/// Printed, not judged: the machine has other things to do.
pub(crate) fn one_after_the_other_is_made_beside_workers() {
    let mut stage = Stage::set();
    let mut best = [None::<(u64, CreatePhases)>; 2];
    for serial in 1..=5 {
        let worker = dormouse_driver::script::replica_of("plain", serial);
        let process = web("web", serial, &[stage.layer]);
        let origins = [stage.node.start(&worker).origin, stage.node.start_image(&process).origin];
        for (origin, best) in origins.into_iter().zip(&mut best) {
            let Origin::Created(phases) = origin else { panic!("{origin:?}") };
            let total = phases.fork_us + phases.cgroup_us + phases.container_us + phases.release_us;
            *best = best.filter(|(least, _)| *least <= total).or(Some((total, phases)));
        }
        stage.stop(&worker.replica);
        stage.stop(&process.replica);
    }
    println!("at best, of a worker and of a process of an image: {best:?}");
    stage.end();
}
