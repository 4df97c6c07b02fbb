//! The text of `GET /metrics`.

/// The samples of one look.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    #[must_use]
    pub fn of(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of the samples of `name` that carry all of `labels`, each `key="value"`.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let carries = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
        };
        let values = self.0.lines().filter(carries).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().expect("a number")).sum()
    }

    /// The sum of `name` over one endpoint.
    #[must_use]
    pub fn of_endpoint(&self, name: &str, endpoint: &str) -> f64 {
        self.sum(name, &[&format!("endpoint=\"{endpoint}\"")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_label() {
        let metrics =
            Metrics::of("# HELP a b\na{e=\"x\",r=\"1\"} 2\na{e=\"y\",r=\"1\"} 3\nab{e=\"x\"} 9\nc 4\n".into());
        assert_eq!(metrics.sum("a", &["e=\"x\""]), 2.0);
        assert_eq!(metrics.sum("a", &["r=\"1\""]), 5.0);
        assert_eq!(metrics.sum("c", &[]), 4.0);
    }
}
