//! When not to believe a run. A flag says by which rule it was raised, and takes nothing back: the figures are
//! printed all the same.

use std::{fs, thread, time::Duration};

use super::Samples;

/// Before a part begins, others may use so much of all processors, looked at for so long. (The load average still
/// tells of the build that went before.)
const BUSY_MAX: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(1);
/// Of the time of all processors, the hypervisor may give so much to other guests.
const STOLEN_MAX: f64 = 0.01;
/// Of a floor's median, its middle eight tenths may be so wide.
const SPREAD_MAX: f64 = 0.3;
/// Of a floor's first half's median, the second half's may differ by so much.
const DRIFT_MAX: f64 = 0.1;
/// Below this many samples a half says nothing.
const HALF_MIN: usize = 5;

/// Looks at the machine before and while a part runs.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Of the processors' time, used by others before the part began.
    busy_before: Option<f64>,
    begun: Option<Ticks>,
}

/// Of all processors since boot.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let before = Ticks::now();
        thread::sleep(LOOK);
        let begun = Ticks::now();
        let busy_before = before.zip(begun).map(|(before, begun)| 1.0 - before.share_until(begun, |ticks| ticks.idle));
        Self { busy_before, begun }
    }

    pub(crate) fn end(&self) -> Vec<String> {
        let share = self.begun.zip(Ticks::now()).map(|(begun, now)| begun.share_until(now, |ticks| ticks.stolen));
        [self.busy_before.and_then(busy), share.and_then(stolen)].into_iter().flatten().collect()
    }
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in `user` already.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        Some(Self { all: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)?, stolen: *ticks.get(7)? })
    }

    fn share_until(self, after: Self, of: impl Fn(Self) -> u64) -> f64 {
        of(after).saturating_sub(of(self)) as f64 / (after.all - self.all).max(1) as f64
    }
}

fn busy(before: f64) -> Option<String> {
    let (share, most) = (before * 1e2, BUSY_MAX * 1e2);
    (before > BUSY_MAX)
        .then(|| format!("the machine was busy before: {share:.0} % of its processors, above {most:.0} %"))
}

fn stolen(share: f64) -> Option<String> {
    (share > STOLEN_MAX)
        .then(|| format!("the hypervisor took {:.1} % of the processors, above {:.0} %", share * 1e2, STOLEN_MAX * 1e2))
}

/// Of what is compared with.
pub(crate) fn spread(what: &str, floor: &Samples) -> Option<String> {
    let spread = (floor.percentile(0.9) - floor.percentile(0.1)) / floor.median();
    (floor.count() >= HALF_MIN && spread > SPREAD_MAX).then(|| {
        let (spread, most) = (spread * 1e2, SPREAD_MAX * 1e2);
        format!("{what} scatters: from p10 to p90 {spread:.0} % of its median, above {most:.0} %")
    })
}

/// Of what is compared with, over the run.
pub(crate) fn drift(what: &str, floor: &Samples) -> Option<String> {
    let (first, second) = floor.halves();
    let drift = second.median() / first.median() - 1.0;
    (first.count() >= HALF_MIN && drift.abs() > DRIFT_MAX).then(|| {
        let (drift, most) = (drift * 1e2, DRIFT_MAX * 1e2);
        format!("{what} drifts: its second half {drift:+.0} % against the first, beyond {most:.0} %")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(count: u32, of: impl Fn(u32) -> f64) -> Samples {
        (0..count).map(of).collect()
    }

    #[test]
    fn a_quiet_run_has_no_flag() {
        let quiet = steady(20, |number| 100.0 + f64::from(number % 3));
        assert_eq!(
            (spread("floor", &quiet), drift("floor", &quiet), busy(0.01), stolen(0.001)),
            (None, None, None, None)
        );
    }

    #[test]
    fn each_rule_raises_its_flag() {
        let wild = steady(20, |number| 100.0 + f64::from(number % 2) * 50.0);
        let drifting = steady(20, |number| 100.0 + f64::from(number / 10) * 20.0);
        assert!(spread("floor", &wild).is_some_and(|flag| flag.contains("scatters")));
        assert!(drift("floor", &drifting).is_some_and(|flag| flag.contains("+20 %")));
        assert!(busy(0.4).is_some() && stolen(0.05).is_some());
    }

    #[test]
    fn a_handful_of_samples_is_no_ground_for_a_flag() {
        assert_eq!(drift("floor", &steady(6, |number| f64::from(number * 100))), None);
    }

    #[test]
    fn shares_are_of_all_processors() {
        let before = Ticks::parse("cpu  100 0 50 800 10 0 0 40 7 0\n").unwrap_or(Ticks { all: 0, idle: 0, stolen: 0 });
        assert_eq!((before.all, before.idle, before.stolen), (1_000, 810, 40));
        assert!(Ticks::parse("cpu  1 2 3").is_none());
        let after = Ticks { all: 2_000, idle: 1_310, stolen: 140 };
        assert_eq!(before.share_until(after, |ticks| ticks.stolen), 0.1);
        assert_eq!(before.share_until(after, |ticks| ticks.idle), 0.5);
    }
}
