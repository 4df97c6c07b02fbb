//! How the work on a layer ends: by itself, by death, by what is found afterwards.

use std::{collections::BTreeMap, fs, path::Path};

use dormouse_driver::{
    daemon::{Daemon, IMAGE_ID_BASE, Settings},
    layers::{Archive, blob_path, layer_path, listed, store, tree},
    machine::{self, until},
};
use dormouse_sandbox::messages::Compression;

pub(crate) fn a_removed_layer_can_be_unpacked_again() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let mut deep = Archive::new();
    // Deeper than descriptors can be open: each step leads on from where the last one led.
    for level in 0..8 {
        let directory = format!("step{level}/{}", "d/".repeat(40));
        deep = deep.directory(&directory).symlink("step", &directory);
    }
    let layer = store(&data, &deep.file("step/file", b"").finish(), Compression::None);
    for _ in 0..2 {
        node.unpack(&layer).unwrap();
        node.remove_layer(&layer.diff_id);
        assert_eq!(listed(&data), [] as [String; 0]);
    }
    daemon.end(node);
}

/// Unpacking that goes on until it is ended: the blob is larger than what is waited for.
fn large(data: &Path) -> dormouse_driver::layers::Blob {
    let mut archive = Archive::new();
    for number in 0..6_000 {
        archive = archive.file(&format!("{}/{number}", number % 100), &[1; 600]);
    }
    store(data, &archive.finish(), Compression::None)
}

/// The processes that unpack, once they do.
fn unpackers(daemon: &Daemon) -> Vec<i32> {
    let group = daemon.group();
    let mut found = Vec::new();
    until("a layer is being unpacked", || {
        let leftovers = machine::hierarchy().leftovers(&group).unwrap();
        let name = leftovers.into_iter().find(|name| name.starts_with("layer-"));
        found = name.map(|name| machine::processes_of(&group, &name)).unwrap_or_default();
        let layers = daemon.settings.data.join("layers");
        let unfinished = listed(&daemon.settings.data).into_iter().find(|name| name.starts_with(".incoming-"));
        let tree = unfinished.map(|name| layers.join(name).join("sealed/tree"));
        found.len() == 2 && tree.is_some_and(|tree| fs::read_dir(tree).is_ok_and(|mut made| made.next().is_some()))
    });
    found
}

pub(crate) fn a_killed_unpacking_says_so_and_leaves_nothing() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = large(&data);
    for reads in [true, false] {
        node.ask_to_unpack(&layer);
        let processes = unpackers(&daemon);
        // The one that reads is a child of the other.
        let process = if reads { processes.iter().max() } else { processes.iter().min() };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*process.unwrap()), nix::sys::signal::SIGKILL).unwrap();
        let reason = node.unpacked(&layer.diff_id).unwrap_err();
        assert!(reason.contains("killed by signal 9"), "{reason}");
        assert_eq!(listed(&data), [] as [String; 0]);
        let group = daemon.group();
        assert!(machine::hierarchy().leftovers(&group).unwrap().iter().all(|name| !name.starts_with("layer-")));
    }
    node.unpack(&layer).unwrap();
    daemon.end(node);
}

pub(crate) fn what_a_killed_daemon_left_of_layers_is_swept() {
    let mut daemon = Daemon::start_with(|settings| settings.ephemeral = false);
    let node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("file", b"").finish(), Compression::None);
    let large = large(&data);
    let mut node = node;
    let told = node.unpack(&layer).unwrap();
    node.ask_to_unpack(&large);
    unpackers(&daemon);
    daemon.kill();
    drop(node);
    assert!(listed(&data).len() > 1, "something is unfinished");

    let mut next = Daemon::launch(daemon.settings.clone());
    let mut node = next.node();
    until("what is unfinished is removed", || listed(&data) == [layer.diff_id.directory_name()]);
    fs::remove_file(blob_path(&data, &layer.blob)).unwrap();
    assert_eq!(node.unpack(&layer).unwrap(), told, "it was not unpacked again");
    node.unpack(&large).unwrap();
    next.end(node);
}

pub(crate) fn a_record_that_cannot_be_read_keeps_its_layer() {
    let home = tempfile::tempdir().unwrap();
    let settings = || Settings { ephemeral: false, ..Settings::under(home.path()) };
    let mut daemon = Daemon::launch(settings());
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("file", b"").finish(), Compression::None);
    let told = node.unpack(&layer).unwrap();
    daemon.end(node);
    let (record, aside) = (layer_path(&data, &layer.diff_id).join("layer.json"), data.join("aside"));
    fs::rename(&record, &aside).unwrap();
    fs::write(&record, "{}").unwrap();

    let mut next = Daemon::launch(settings());
    let mut node = next.node();
    let reason = node.unpack(&layer).unwrap_err();
    assert!(reason.contains("layer.json") && reason.contains("missing field"), "{reason}");
    assert!(tree(&data, &layer.diff_id).join("file").exists());
    fs::rename(&aside, &record).unwrap();
    fs::remove_file(blob_path(&data, &layer.blob)).unwrap();
    assert_eq!(node.unpack(&layer).unwrap(), told, "it was not unpacked again");
    // One that nobody can read can still be removed.
    fs::write(&record, "{}").unwrap();
    node.remove_layer(&layer.diff_id);
    assert_eq!(listed(&data), [] as [String; 0]);
    next.end(node);
}

pub(crate) fn a_daemon_that_ends_does_not_wait_for_a_layer() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::launch(Settings { ephemeral: false, ..Settings::under(home.path()) });
    let node = daemon.node();
    let data = daemon.settings.data.clone();
    node.ask_to_unpack(&large(&data));
    unpackers(&daemon);
    daemon.end(node);
    assert!(listed(&data).iter().all(|name| name.starts_with(".incoming-")), "no layer has its name");

    let mut next = Daemon::launch(Settings { ephemeral: false, ..Settings::under(home.path()) });
    let node = next.node();
    until("what is unfinished is removed", || listed(&data).is_empty());
    next.end(node);
}

pub(crate) fn the_process_that_reads_has_no_rights() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = large(&data);
    node.ask_to_unpack(&layer);
    let reader = *unpackers(&daemon).iter().max().unwrap();
    let status = |field: &str| machine::status_of(reader, field);
    until("its filter is loaded", || status("Seccomp:") == "2");
    assert_eq!(status("Uid:").split_whitespace().next().unwrap(), IMAGE_ID_BASE.to_string());
    assert_eq!(status("Gid:").split_whitespace().next().unwrap(), IMAGE_ID_BASE.to_string());
    assert_eq!(status("Groups:"), "");
    // CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID and SETFCAP, in a user namespace of its own.
    assert_eq!((status("CapEff:"), status("CapPrm:")), ("000000008000001b".to_owned(), "000000008000001b".to_owned()));
    assert_eq!((status("CapInh:"), status("NoNewPrivs:")), ("0000000000000000".to_owned(), "1".to_owned()));
    let of = |pid: &str| -> BTreeMap<&str, String> {
        let link = |name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
        ["user", "mnt", "net", "ipc", "uts", "pid", "cgroup"].map(|name| (name, link(name))).into()
    };
    let (its, ours) = (of(&reader.to_string()), of("self"));
    assert!(its.iter().all(|(name, namespace)| ours[name] != *namespace), "{its:?}");
    let mounts = fs::read_to_string(format!("/proc/{reader}/mountinfo")).unwrap();
    assert!(mounts.lines().count() == 1 && mounts.contains("nosuid,nodev,noexec"), "{mounts}");
    let open = fs::read_dir(format!("/proc/{reader}/fd")).unwrap().count();
    assert!(open <= 10, "{open} descriptors");
    node.unpacked(&layer.diff_id).unwrap();
    daemon.end(node);
}
