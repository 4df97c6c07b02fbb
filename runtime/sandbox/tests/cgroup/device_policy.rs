use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
};

use dormouse_sandbox::devices::{self, Access, DeviceError, DeviceKind, DeviceRule, WORKER_DEVICES};
use nix::{
    errno::Errno,
    libc,
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{Uid, setuid},
};

use crate::{
    children::Child,
    fixture::{Fixture, mount, unified, until},
};

const NULL: DeviceRule = WORKER_DEVICES[0];
const ZERO_READ_ONLY: DeviceRule = DeviceRule {
    kind: DeviceKind::Char,
    major: 1,
    minor: Some(5),
    access: Access { read: true, write: false, mknod: false },
};

pub(crate) fn of_a_replica_is_enforced() {
    let fixture = Fixture::new("devices");
    let group = fixture.replica();
    let inside = |probe: fn()| {
        Child::run(|| {
            group.join_self().unwrap();
            probe();
            0
        })
        .answer()
    };
    // Control: without the policy the same probes succeed.
    assert_eq!(inside(everything_is_allowed), 0);
    group.set_device_policy(&WORKER_DEVICES).unwrap();
    assert_eq!(inside(only_worker_devices_are_allowed), 0);
}

fn everything_is_allowed() {
    assert_eq!(open("/dev/kmsg", true, false), Ok(()));
    assert_eq!(open("/dev/null", true, true), Ok(()));
    assert_eq!(make_node(), Ok(()));
}

fn only_worker_devices_are_allowed() {
    for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
        assert_eq!(open(device, true, true), Ok(()), "{device}");
    }
    for device in ["/dev/kmsg", "/dev/ptmx"] {
        assert_eq!(open(device, true, false), Err(libc::EPERM), "{device}");
    }
    assert_eq!(make_node(), Err(libc::EPERM));
}

pub(crate) fn of_v1_is_read_back() {
    let fixture = Fixture::new("read-back");
    if !fixture.is_v1() {
        return;
    }
    let group = fixture.replica();
    let directory = mount("devices").join(group.path().strip_prefix("/").unwrap());
    // As libcontainer leaves it.
    fs::write(directory.join("devices.deny"), "a").unwrap();
    for rule in ["c *:* m", "b *:* m", "c 136:* rwm", "c 10:200 rwm"] {
        fs::write(directory.join("devices.allow"), rule).unwrap();
    }
    group.set_device_policy(&WORKER_DEVICES).unwrap();
    let list = fs::read_to_string(directory.join("devices.list")).unwrap();
    assert_eq!(list, "c 1:3 rw\nc 1:5 rw\nc 1:7 rw\nc 1:8 rw\nc 1:9 rw\n");

    // Two rules for one device are one in the kernel, which is not what was given.
    let error = devices::v1::apply(&directory, &[NULL, DeviceRule { access: ZERO_READ_ONLY.access, ..NULL }]);
    assert!(matches!(error, Err(DeviceError::NotEnforced { .. })), "{error:?}");
}

/// A v2 group without limits, which hybrid machines have too.
struct Unified(PathBuf);

impl Unified {
    fn new(name: &str) -> Self {
        let path = unified().join(format!("dormouse-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn answer(&self, probe: impl FnOnce()) -> i32 {
        Child::run(|| {
            fs::write(self.0.join("cgroup.procs"), "0").unwrap();
            probe();
            0
        })
        .answer()
    }
}

impl Drop for Unified {
    fn drop(&mut self) {
        if !thread::panicking() {
            until("the group is removed", || fs::remove_dir(&self.0).is_ok());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

pub(crate) fn by_program_is_enforced() {
    devices::probe_kernel().unwrap();
    let group = Unified::new("program");
    // Control: without the policy the same probes succeed.
    assert_eq!(group.answer(everything_is_allowed), 0);
    devices::v2::apply(&group.0, &WORKER_DEVICES).unwrap();
    assert_eq!(group.answer(only_worker_devices_are_allowed), 0);
}

pub(crate) fn by_program_only_narrows() {
    let group = Unified::new("narrow");
    devices::v2::apply(&group.0, &[NULL, ZERO_READ_ONLY]).unwrap();
    let null_is_whole_zero_is_half = || {
        assert_eq!(open("/dev/null", true, true), Ok(()));
        assert_eq!(open("/dev/zero", true, false), Ok(()));
        assert_eq!(open("/dev/zero", false, true), Err(libc::EPERM));
        assert_eq!(open("/dev/zero", true, true), Err(libc::EPERM));
        assert_eq!(open("/dev/full", true, false), Err(libc::EPERM));
    };
    assert_eq!(group.answer(null_is_whole_zero_is_half), 0);
    // A wider policy beside it changes nothing, an empty one denies all.
    devices::v2::apply(&group.0, &WORKER_DEVICES).unwrap();
    assert_eq!(group.answer(null_is_whole_zero_is_half), 0);
    devices::v2::apply(&group.0, &[]).unwrap();
    assert_eq!(group.answer(|| assert_eq!(open("/dev/null", true, false), Err(libc::EPERM))), 0);
}

pub(crate) fn is_not_promised_to_the_unprivileged() {
    let child = Child::run(|| {
        setuid(Uid::from_raw(65_534)).unwrap();
        let error = devices::probe_kernel().unwrap_err();
        assert!(matches!(error, DeviceError::Unsupported { .. }), "{error:?}");
        0
    });
    assert_eq!(child.answer(), 0);
}

fn open(device: &str, is_read: bool, is_written: bool) -> Result<(), i32> {
    let opened = OpenOptions::new().read(is_read).write(is_written).open(device);
    opened.map(drop).map_err(|error: io::Error| error.raw_os_error().unwrap())
}

/// Tries to make a second /dev/mem.
fn make_node() -> Result<(), i32> {
    let path = Path::new("/dev/shm").join(format!("dormouse-test-{}", std::process::id()));
    let made = mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 1));
    let _ = fs::remove_file(&path);
    made.map_err(|error: Errno| error as i32)
}
