//! Groups of this test run only, removed whatever happens.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dormouse_sandbox::cgroup::{Hierarchy, InstanceGroup, Removal, ReplicaGroup, Version};
use dormouse_spec::{Bytes, Limits, MilliCpu};

/// Generous: an emulated machine takes its time.
const DEADLINE: Duration = Duration::from_secs(30);

pub const LIMITS: Limits = Limits {
    cpu: MilliCpu::from_milli(500),
    memory: Bytes::from_mebibytes(64),
    pids: 16,
    tmp: Bytes::from_mebibytes(1),
};

/// A parent group under a name of its own.
pub struct Fixture {
    pub hierarchy: Hierarchy,
    pub instance: InstanceGroup,
    pub name: String,
}

impl Fixture {
    pub fn new(test: &str) -> Self {
        let name = format!("dormouse-test-{}-{test}", std::process::id());
        let hierarchy = Hierarchy::detect().unwrap();
        let instance = hierarchy.instance(&name).unwrap();
        Self { hierarchy, instance, name }
    }

    pub fn replica(&self) -> ReplicaGroup {
        self.instance.create("replica", &LIMITS).unwrap()
    }

    pub fn leftovers(&self) -> Vec<String> {
        self.hierarchy.leftovers(&self.name).unwrap()
    }

    pub fn is_v1(&self) -> bool {
        self.hierarchy.version() == Version::V1
    }

    /// What one interface file of a group says; `v1` names the controller and the file.
    pub fn read(&self, group: &ReplicaGroup, v1: (&str, &str), v2: &str) -> String {
        let (directory, file) = if self.is_v1() { (mount(v1.0), v1.1) } else { (unified(), v2) };
        let path = directory.join(group.path().strip_prefix("/").unwrap()).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for name in self.leftovers() {
            let group = self.instance.open(&name).unwrap();
            group.kill().unwrap();
            until("the group is removed", || group.remove().unwrap() == Removal::Removed);
        }
        self.instance.remove().unwrap();
    }
}

/// Where the v1 hierarchy of a controller is mounted.
pub fn mount(controller: &str) -> PathBuf {
    mounted(|kind, options| kind == "cgroup" && options.split(',').any(|option| option == controller))
        .unwrap_or_else(|| panic!("{controller} is not mounted"))
}

/// Where v2 is mounted, on hybrid machines too.
pub fn unified() -> PathBuf {
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
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
