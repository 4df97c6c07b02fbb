use std::fs;

use dormouse_sandbox::cgroup::{FreezerState, Removal};
use nix::sys::{signal::Signal, wait::WaitStatus};

use crate::{
    children::{Child, fork_for_ever},
    fixture::{Fixture, LIMITS, mount, until},
};

pub(crate) fn a_frozen_group_is_killed() {
    let fixture = Fixture::new("frozen");
    let group = fixture.replica();
    let child = Child::waiting(|| group.join_self().unwrap());
    assert_eq!(group.freezer_state().unwrap(), FreezerState::Thawed);
    for _ in 0..2 {
        group.freeze().unwrap();
        until("the group is frozen", || group.freezer_state().unwrap() == FreezerState::Frozen);
        group.thaw().unwrap();
        until("the group is thawed", || group.freezer_state().unwrap() == FreezerState::Thawed);
    }
    group.freeze().unwrap();
    until("the group is frozen", || group.freezer_state().unwrap() == FreezerState::Frozen);

    if fixture.is_v1() {
        // Control: SIGKILL alone stays pending, so `kill` has to thaw.
        child.send_kill();
        assert!(has_kill_pending(&child));
        assert!(child.is_alive());
    }
    group.kill().unwrap();
    assert!(matches!(child.wait(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert_eq!(group.processes().unwrap(), [0; 0]);
    until("the group is removed", || group.remove().unwrap() == Removal::Removed);
    assert_eq!(fixture.leftovers(), [""; 0]);
    // Nothing of this fails on a group that is gone.
    group.kill().unwrap();
    assert_eq!(group.remove().unwrap(), Removal::Removed);
    assert!(group.freeze().is_err());
    assert!(group.statistics().is_err());
}

fn has_kill_pending(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap();
    let pending = status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
    let kill = 1 << (Signal::SIGKILL as u64 - 1);
    pending.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap()).any(|mask| mask & kill != 0)
}

pub(crate) fn a_group_that_forks_is_killed() {
    let fixture = Fixture::new("forking");
    let group = fixture.replica();
    let child = Child::run(|| {
        group.join_self().unwrap();
        fork_for_ever()
    });
    until("the group is full", || group.processes().unwrap().len() == LIMITS.pids as usize);
    group.kill().unwrap();
    assert!(matches!(child.wait(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    until("every process is gone", || group.processes().unwrap().is_empty());
    until("the group is removed", || group.remove().unwrap() == Removal::Removed);
}

pub(crate) fn removal_waits_for_the_last_process() {
    let fixture = Fixture::new("removal");
    let group = fixture.replica();
    let child = Child::waiting(|| group.join_self().unwrap());
    assert_eq!(group.remove().unwrap(), Removal::Busy);
    assert_eq!(group.processes().unwrap(), [child.pid.as_raw()]);
    assert!(fixture.instance.remove().is_err());
    drop(child);
    until("the group is removed", || group.remove().unwrap() == Removal::Removed);
    fixture.instance.remove().unwrap();
    fixture.instance.remove().unwrap();
}

pub(crate) fn leftovers_are_listed_and_swept() {
    let fixture = Fixture::new("leftovers");
    assert_eq!(fixture.hierarchy.leftovers("dormouse-test-of-nobody").unwrap(), [""; 0]);
    assert_eq!(fixture.leftovers(), [""; 0]);
    let second = fixture.instance.create("second", &LIMITS).unwrap();
    let first = fixture.instance.create("first", &LIMITS).unwrap();
    let child = Child::waiting(|| first.join_self().unwrap());
    first.freeze().unwrap();
    until("the group is frozen", || first.freezer_state().unwrap() == FreezerState::Frozen);
    drop((first, second));
    assert_eq!(fixture.leftovers(), ["first", "second"]);

    // As the next daemon does, which knows the names only.
    let found = fixture.hierarchy.instance(&fixture.name).unwrap().open("first").unwrap();
    found.kill().unwrap();
    assert!(matches!(child.wait(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    until("the group is removed", || found.remove().unwrap() == Removal::Removed);
    assert_eq!(fixture.leftovers(), ["second"]);
}

pub(crate) fn what_is_left_in_part_is_swept() {
    let fixture = Fixture::new("part");
    let group = fixture.replica();
    if fixture.is_v1() {
        let freezer = mount("freezer").join(group.path().strip_prefix("/").unwrap());
        fs::remove_dir(freezer).unwrap();
    } else {
        assert_eq!(group.remove().unwrap(), Removal::Removed);
    }
    let found = fixture.instance.open("replica").unwrap();
    assert!(found.freeze().is_err());
    found.kill().unwrap();
    assert_eq!(found.remove().unwrap(), Removal::Removed);
    assert_eq!(fixture.leftovers(), [""; 0]);
}
