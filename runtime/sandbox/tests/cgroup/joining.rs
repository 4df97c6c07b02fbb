use std::fs;

use dormouse_sandbox::cgroup::CgroupError;

use crate::{children::Child, fixture::Fixture};

pub(crate) fn shows_in_every_hierarchy() {
    let fixture = Fixture::new("joining");
    let group = fixture.replica();
    assert_eq!(group.processes().unwrap(), [0; 0]);
    let child = Child::waiting(|| group.join_self().unwrap());

    assert_eq!(group.processes().unwrap(), [child.pid.as_raw()]);
    let statistics = group.statistics().unwrap();
    assert_eq!(statistics.pids, 1);
    let path = group.path().to_str().unwrap();
    let memberships = fs::read_to_string(format!("/proc/{}/cgroup", child.pid)).unwrap();
    for line in memberships.lines() {
        // Named v1 hierarchies, and v2 on a hybrid machine, limit nothing.
        let is_unlimited = line.contains("name=") || (fixture.is_v1() && line.starts_with("0::"));
        assert_ne!(line.ends_with(path), is_unlimited, "{line}");
    }
}

pub(crate) fn ends_with_the_entrance() {
    let fixture = Fixture::new("entrance");
    let mut group = fixture.replica();
    assert!(group.entrances().next().is_some());
    group.close_entrance();
    assert!(matches!(group.join_self(), Err(CgroupError::EntranceClosed(_))));
    assert_eq!(group.processes().unwrap(), [0; 0]);
}

pub(crate) fn is_refused_in_a_group_of_another() {
    let fixture = Fixture::new("another");
    let first = fixture.replica();
    let _child = Child::waiting(|| first.join_self().unwrap());
    let second = fixture.instance.create("replica", &crate::fixture::LIMITS);
    assert!(matches!(second, Err(CgroupError::File { .. })));
    // The group that was there is as it was.
    assert_eq!(first.processes().unwrap().len(), 1);
    first.freeze().unwrap();
    first.thaw().unwrap();
    assert!(fixture.instance.open("replica").unwrap().join_self().is_err());
}
