//! Groups of this test run only, removed whatever happens.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dormouse_sandbox::cgroup::{Hierarchy, InstanceGroup, Removal, ReplicaGroup, Version};
use dormouse_spec::{Bytes, Limits, MilliCpu};

/// Generous: an emulated machine takes its time.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const LIMITS: Limits = Limits {
    cpu: MilliCpu::from_milli(500),
    memory: Bytes::from_mebibytes(64),
    pids: 16,
    tmp: Bytes::from_mebibytes(1),
};

/// A parent group under a name of its own.
pub(crate) struct Fixture {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) instance: InstanceGroup,
    pub(crate) name: String,
}

impl Fixture {
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("dormouse-test-{}-{test}", std::process::id());
        let hierarchy = Hierarchy::detect().unwrap();
        let instance = hierarchy.instance(&name).unwrap();
        Self { hierarchy, instance, name }
    }

    pub(crate) fn replica(&self) -> ReplicaGroup {
        self.instance.create("replica", &LIMITS).unwrap()
    }

    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.hierarchy.leftovers(&self.name).unwrap()
    }

    pub(crate) fn is_v1(&self) -> bool {
        self.hierarchy.version() == Version::V1
    }

    /// What one interface file of a group says; `v1` names the controller and the file.
    pub(crate) fn read(&self, group: &ReplicaGroup, v1: (&str, &str), v2: &str) -> String {
        let (directory, file) = if self.is_v1() { (mount(v1.0), v1.1) } else { (unified(), v2) };
        let path = directory.join(group.path().strip_prefix("/").unwrap()).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let swept = panic::catch_unwind(AssertUnwindSafe(|| {
            for name in self.leftovers() {
                let group = self.instance.open(&name).unwrap();
                group.kill().unwrap();
                until("the group is removed", || group.remove().unwrap() == Removal::Removed);
            }
            self.instance.remove().unwrap();
        }));
        // A second panic would end the run and hide the first.
        assert!(swept.is_ok() || thread::panicking(), "{} is left", self.name);
    }
}

/// Where the v1 hierarchy of a controller is mounted.
pub(crate) fn mount(controller: &str) -> PathBuf {
    mounted(|kind, options| kind == "cgroup" && options.split(',').any(|option| option == controller))
        .unwrap_or_else(|| panic!("{controller} is not mounted"))
}

/// Where v2 is mounted, on hybrid machines too.
pub(crate) fn unified() -> PathBuf {
    mounted(|kind, _| kind == "cgroup2").expect("cgroup2 is not mounted")
}

fn mounted(is_it: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = filesystem.split(' ').collect();
        is_it(fields.first()?, fields.last()?).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Waits for a condition.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits for a value.
pub(crate) fn until_some<T>(what: &str, value: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
