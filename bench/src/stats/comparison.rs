use super::{Random, Samples, samples::percentile};

/// How often both sides are drawn anew for an interval.
const RESAMPLES: usize = 2_000;
/// So that the same samples always have the same interval.
const SEED: u64 = 0x0d0e_0a05;
/// The middle 95 % of what the resamples give.
const TAILS: [f64; 2] = [0.025, 0.975];

/// Where the figure would lie 95 times in 100, going by how its samples scatter: percentile bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Median ÷ median.
pub(crate) fn ratio(ours: &Samples, floor: &Samples) -> (f64, Interval) {
    compared(ours, floor, |ours, floor| percentile(ours, 0.5) / percentile(floor, 0.5))
}

/// What `share` of our samples stay below, less what the same share of the other side's do. An inference that takes
/// a little longer now and then does so on both sides.
pub(crate) fn added(ours: &Samples, warm: &Samples, share: f64) -> (f64, Interval) {
    compared(ours, warm, |ours, warm| percentile(ours, share) - percentile(warm, share))
}

/// Of one side alone.
pub(crate) fn interval(samples: &Samples, share: f64) -> (f64, Interval) {
    compared(samples, samples, |ours, _| percentile(ours, share))
}

/// How much more one adds than another: what each adds is the median through it less the median around it.
pub(crate) fn ratio_of_added(ours: [&Samples; 2], theirs: [&Samples; 2]) -> (f64, Interval) {
    let [[through, around], [through_them, around_them]] = [ours, theirs];
    of_all([through, around, through_them, around_them], |all| {
        let [through, around, through_them, around_them] = all.map(|values| percentile(values, 0.5));
        (through - around) / (through_them - around_them)
    })
}

fn compared(ours: &Samples, other: &Samples, figure: impl Fn(Vec<f64>, Vec<f64>) -> f64) -> (f64, Interval) {
    of_all([ours, other], |[ours, other]| figure(ours, other))
}

fn of_all<const N: usize>(all: [&Samples; N], figure: impl Fn([Vec<f64>; N]) -> f64) -> (f64, Interval) {
    let mut random = Random::seeded(SEED);
    let resampled: Vec<f64> = (0..RESAMPLES).map(|_| figure(all.map(|samples| drawn(samples, &mut random)))).collect();
    let [low, high] = TAILS.map(|share| percentile(resampled.clone(), share));
    (figure(all.map(|samples| samples.values().to_vec())), Interval { low, high })
}

/// As many as there are, each drawn from all of them.
fn drawn(samples: &Samples, random: &mut Random) -> Vec<f64> {
    let values = samples.values();
    values.iter().filter_map(|_| values.get(random.below(values.len() as u64) as usize).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered(around: f64) -> Samples {
        (0..40).map(|number| around + f64::from(number % 5) - 2.0).collect()
    }

    #[test]
    fn a_ratio_lies_in_its_interval() {
        let (figure, interval) = ratio(&scattered(50.0), &scattered(100.0));
        assert_eq!(figure, 0.5);
        assert!(interval.low <= 0.5 && interval.high >= 0.5 && interval.low < interval.high, "{interval:?}");
        assert!(interval.high - interval.low < 0.05, "{interval:?}");
    }

    #[test]
    fn more_scatter_is_a_wider_interval() {
        let wild: Samples = (0..40).map(|number| f64::from((number * 37) % 100)).collect();
        let width = |samples| {
            let (_, Interval { low, high }) = ratio(samples, &scattered(50.0));
            high - low
        };
        assert!(width(&wild) > 4.0 * width(&scattered(50.0)));
    }

    #[test]
    fn what_two_add_is_compared_without_what_they_add_it_to() {
        let (figure, interval) =
            ratio_of_added([&scattered(70.0), &scattered(50.0)], [&scattered(110.0), &scattered(100.0)]);
        assert_eq!(figure, 2.0);
        assert!(interval.low < 2.0 && interval.high > 2.0, "{interval:?}");
    }

    #[test]
    fn what_is_added_is_over_the_same_share_of_warm() {
        let warm: Samples = [1.0, 2.0, 3.0].into_iter().collect();
        let ours: Samples = [5.0, 6.0, 9.0].into_iter().collect();
        assert_eq!(added(&ours, &warm, 0.5).0, 4.0);
        assert_eq!(added(&ours, &warm, 0.99).0, 6.0);
    }
}
