use dormouse_spec::{Bytes, Limits, MilliCpu};
use nix::sys::{signal::Signal, wait::WaitStatus};

use crate::{
    children::{Child, fork_often},
    fixture::{Fixture, LIMITS, mount, until},
};
use dormouse_sandbox::cgroup::ReplicaGroup;

pub(crate) fn are_read_back_and_change_live() {
    let fixture = Fixture::new("limits");
    let group = fixture.replica();
    let _child = Child::waiting(|| group.join_self().unwrap());
    assert_limits(&fixture, &group, &LIMITS);

    let higher = Limits { cpu: MilliCpu::from_milli(1500), memory: Bytes::from_mebibytes(96), pids: 20, ..LIMITS };
    let lower = Limits { cpu: MilliCpu::from_milli(1), memory: Bytes::from_mebibytes(32), pids: 2, ..LIMITS };
    for limits in [higher, lower] {
        group.set_limits(&limits).unwrap();
        assert_limits(&fixture, &group, &limits);
    }
}

fn assert_limits(fixture: &Fixture, group: &ReplicaGroup, limits: &Limits) {
    let quota = (u64::from(limits.cpu.milli()) * 100).max(1000);
    let memory = limits.memory.get().to_string();
    let cpu = fixture.read(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert_eq!(fixture.read(group, ("memory", "memory.limit_in_bytes"), "memory.max"), memory);
    assert_eq!(fixture.read(group, ("pids", "pids.max"), "pids.max"), limits.pids.to_string());
    if fixture.is_v1() {
        assert_eq!(cpu, quota.to_string());
        assert_eq!(fixture.read(group, ("cpu", "cpu.cfs_period_us"), ""), "100000");
        assert_eq!(fixture.read(group, ("memory", "memory.swappiness"), ""), "0");
        if mount("memory").join("memory.memsw.limit_in_bytes").exists() {
            assert_eq!(fixture.read(group, ("memory", "memory.memsw.limit_in_bytes"), ""), memory);
        }
    } else {
        assert_eq!(cpu, format!("{quota} 100000"));
        assert_eq!(fixture.read(group, ("", ""), "memory.oom.group"), "1");
        assert_eq!(fixture.read(group, ("", ""), "memory.swap.max"), "0");
    }
}

pub(crate) fn too_many_processes_are_refused() {
    let fixture = Fixture::new("pids");
    let group = fixture.replica();
    let forks = |group: Option<&ReplicaGroup>| {
        Child::run(|| {
            if let Some(group) = group {
                group.join_self().unwrap();
            }
            // In a group of its own the children are killed at the end, outside there are none.
            if group.is_some() { fork_often(40) } else { 0 }
        })
        .answer()
    };
    let limit = i32::try_from(LIMITS.pids).unwrap();
    assert_eq!(forks(Some(&group)), limit - 1);
    assert_eq!(group.statistics().unwrap().pids, u64::from(LIMITS.pids) - 1);
    // Control: with a higher limit more are made, so it was the limit that refused.
    group.kill().unwrap();
    until("the processes are gone", || group.statistics().unwrap().pids == 0);
    group.set_limits(&Limits { pids: 64, ..LIMITS }).unwrap();
    assert_eq!(forks(Some(&group)), 40);
}

pub(crate) fn too_much_memory_is_an_out_of_memory_kill() {
    let fixture = Fixture::new("memory");
    let group = fixture.replica();
    let touch = |mebibytes: usize| {
        Child::run(|| {
            group.join_self().unwrap();
            // A value that is not zero: the kernel has to give every page.
            let memory = std::hint::black_box(vec![1_u8; mebibytes << 20]);
            i32::from(memory.iter().map(|byte| usize::from(*byte)).sum::<usize>() != mebibytes << 20)
        })
        .wait()
    };
    // Control: what is inside the limit is given, and counted.
    assert!(matches!(touch(32), WaitStatus::Exited(_, 0)));
    assert_eq!(group.out_of_memory_kills().unwrap(), 0);
    let statistics = group.statistics().unwrap();
    if let Some(peak) = statistics.memory_peak_bytes {
        assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
    }
    assert!(statistics.cpu_us > 0);

    assert!(matches!(touch(256), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert!(group.out_of_memory_kills().unwrap() > 0);
}

pub(crate) fn one_that_is_refused_leaves_no_group() {
    let fixture = Fixture::new("refused");
    // More processes than the kernel has numbers for.
    let limits = Limits { pids: u32::MAX, ..LIMITS };
    let error = fixture.instance.create("replica", &limits).unwrap_err();
    assert!(error.to_string().contains("replica"), "{error}");
    assert_eq!(fixture.leftovers(), [""; 0]);
}
