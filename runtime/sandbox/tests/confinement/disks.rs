//! Volumes on the daemon's disk. Needs the modules loop and ext4.

use std::fs;

use dormouse_driver::{
    images::{as_user, web},
    machine::until,
    volumes::volume,
};
use dormouse_sandbox::messages::VolumeSource;
use dormouse_spec::Bytes;

use crate::{images::Stage, volumes::with_volumes};

const MIB: u64 = 1 << 20;

fn disk(mebibytes: u64) -> VolumeSource {
    VolumeSource::Disk { bytes: Bytes::from_mebibytes(mebibytes) }
}

/// Those whose file has no name, as this daemon's.
fn loop_devices() -> usize {
    let backing = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
    let files = fs::read_dir("/sys/block").unwrap().filter_map(|entry| backing(entry.unwrap()));
    files.filter(|file| file.contains("/disks/") && file.trim_end().ends_with("(deleted)")).count()
}

pub(crate) fn hold_so_much_and_are_gone_with_their_replica() {
    let mut stage = Stage::set();
    let (before, data) = (loop_devices(), stage.daemon.settings.data.clone());
    let spec =
        with_volumes(as_user(stage.web("disk"), "web"), vec![volume("/data", disk(16)), volume("/tmp", disk(4))]);
    let said = stage.run(
        &spec,
        "stat -c '%a %u %g' /data; ls -A /data; echo kept >/data/a; \
         dd if=/dev/zero of=/data/b bs=64k count=512 2>&1 | grep -c 'No space'; wc -c </data/b; cat /data/a; \
         grep -c ' /tmp ext4 rw,nosuid,nodev' /proc/self/mounts",
    );
    let lines: Vec<&str> = said.lines().collect();
    let [mode, is_full, written, kept, is_tmp] = lines[..] else { panic!("{said}") };
    assert_eq!((mode, is_full, kept, is_tmp), ("777 0 0", "1", "kept", "1"), "{said}");
    // What a file system needs for itself is a small part.
    let written: u64 = written.parse().unwrap();
    assert!((14 * MIB..=16 * MIB).contains(&written), "{said}");
    assert_eq!(loop_devices(), before + 2);
    assert_eq!(fs::read_dir(data.join("disks")).unwrap().count(), 0, "no file of it has a name");
    // The next one begins anew.
    stage.stop(&spec.replica);
    until("the kernel lets go of the devices", || loop_devices() == before);
    let again = with_volumes(web("disk", 2, &[stage.layer]), vec![volume("/data", disk(16))]);
    assert_eq!(stage.run(&again, "ls -A /data; echo empty"), "empty");
    // One that a killed daemon leaves goes with the processes that its next start ends.
    stage.daemon.kill();
    let mut daemon = dormouse_driver::Daemon::launch(stage.daemon.settings.clone());
    let node = daemon.node();
    until("the kernel lets go of the devices", || loop_devices() == before);
    daemon.end(node);
}

pub(crate) fn what_the_disk_has_no_room_for_is_told() {
    let mut stage = Stage::set();
    let before = loop_devices();
    let spec = with_volumes(stage.web("huge"), vec![volume("/small", disk(4)), volume("/data", disk(1 << 30))]);
    let told = stage.refusal(&spec);
    assert!(told.contains("the volume at /data") && told.contains("bytes free, and"), "{told}");
    until("the kernel lets go of the first one's device", || loop_devices() == before);
    stage.end();
}
