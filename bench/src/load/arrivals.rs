use std::time::Duration;

use crate::stats::Random;

/// When requests are due, after the beginning: a Poisson process, as of many callers who know nothing of each other.
pub(crate) fn poisson(rate: f64, span: Duration, seed: u64) -> Vec<Duration> {
    let mut random = Random::seeded(seed);
    let mut at = 0.0;
    let next = std::iter::from_fn(|| {
        at -= random.unit().ln() / rate;
        (at < span.as_secs_f64()).then(|| Duration::from_secs_f64(at))
    });
    next.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_and_come_in_order() {
        let arrivals = poisson(1_000.0, Duration::from_secs(10), 1);
        assert!((9_700..10_300).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted());
        assert_eq!(arrivals, poisson(1_000.0, Duration::from_secs(10), 1));
    }

    #[test]
    fn gaps_are_exponential() {
        let arrivals = poisson(100.0, Duration::from_secs(100), 2);
        let gaps: Vec<f64> = arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential distribution the deviation is the mean; of constant gaps it would be 0.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.1);
    }
}
