//! What /proc tells of processes: memory, processor time, and how often they were woken.

use std::fs;

use crate::{
    Failure,
    machine::{field, kibibytes},
};

/// Of `utime` and `stime`: the kernel counts them in hundredths of a second for every user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and all below it that run now.
pub(crate) fn family(pid: i32) -> Vec<i32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        for thread in threads(parent) {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    family
}

/// Proportional set size, in bytes: a page that n processes share counts one n-th in each.
pub(crate) fn proportional_set(pids: &[i32]) -> Result<u64, Failure> {
    let mut bytes = 0;
    for pid in pids {
        let pss = field(&format!("/proc/{pid}/smaps_rollup"), "Pss").ok_or_else(|| format!("process {pid} is gone"))?;
        bytes += kibibytes(&pss) << 10;
    }
    Ok(bytes)
}

/// The most that it ever had in memory, in bytes; none of one that is gone.
pub(crate) fn resident_peak(pid: i32) -> Option<u64> {
    Some(kibibytes(&field(&format!("/proc/{pid}/status"), "VmHWM")?) << 10)
}

/// Whether its control group, in any hierarchy, has a name that begins so.
pub(crate) fn is_in_group(pid: i32, prefix: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| line.rsplit('/').next()).any(|name| name.starts_with(prefix))
}

/// Processor time so far, in seconds.
pub(crate) fn processor_time(pids: &[i32]) -> f64 {
    let stats = pids.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.map(|stat| ticks(&stat)).sum::<u64>() as f64 / TICKS_PER_SECOND
}

/// `utime` and `stime`. What stands before the last parenthesis is the program's name and may hold anything.
fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// How often threads of these processes have left a processor, for whatever reason: each time they had been woken.
pub(crate) fn switches(pids: &[i32]) -> u64 {
    let of_thread = |pid: i32, thread: i32| {
        let status = format!("/proc/{pid}/task/{thread}/status");
        ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .iter()
            .filter_map(|name| field(&status, name)?.parse::<u64>().ok())
            .sum::<u64>()
    };
    pids.iter().flat_map(|pid| threads(*pid).into_iter().map(|thread| of_thread(*pid, thread))).sum()
}

pub(crate) fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 100";
        assert_eq!(ticks(stat), 300);
    }

    #[test]
    fn a_child_is_family_and_has_memory() {
        let child = Command::new("sleep").arg("60").spawn();
        assert!(child.is_ok_and(|mut child| {
            let pid = child.id().cast_signed();
            let family = family(std::process::id().cast_signed());
            let memory = proportional_set(&[pid]).unwrap_or_default();
            let peak = resident_peak(pid).unwrap_or_default();
            let _ = child.kill();
            let _ = child.wait();
            family.contains(&pid) && memory > 0 && peak >= memory
        }));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(proportional_set(&[i32::MAX]).is_err() && resident_peak(i32::MAX).is_none());
        assert!(!is_in_group(i32::MAX, "") && is_in_group(std::process::id().cast_signed(), ""));
    }
}
