//! How a request for logs says which lines it wants.

use std::time::Duration;

use dormouse_controller::{LogQuery, TAIL_LINES_MAX};

use super::AdminError;

/// The query of a request's target.
pub(super) fn write(query: LogQuery) -> String {
    let LogQuery { follow, timestamps, since, tail } = query;
    let mut text = format!("follow={follow}&timestamps={timestamps}");
    if let Some(since) = since {
        text.push_str(&format!("&since_ms={}", since.as_millis()));
    }
    if let Some(tail) = tail {
        text.push_str(&format!("&tail={tail}"));
    }
    text
}

/// # Errors
/// Where a value is none. What is not known is left alone, as it always was.
pub(super) fn parse(text: &str) -> Result<LogQuery, AdminError> {
    let mut query = LogQuery::default();
    for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        let wrong = || AdminError::Query { key: key.to_owned(), value: dormouse_spec::printable(value) };
        match key {
            "follow" => query.follow = value == "true",
            "timestamps" => query.timestamps = value == "true",
            "since_ms" => query.since = Some(Duration::from_millis(value.parse().map_err(|_| wrong())?)),
            "tail" => {
                let tail = value.parse().ok().filter(|tail: &std::num::NonZeroU32| tail.get() <= TAIL_LINES_MAX);
                query.tail = Some(tail.ok_or_else(wrong)?);
            }
            _ => {}
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_written() {
        let some = LogQuery {
            follow: true,
            timestamps: true,
            since: Some(Duration::from_millis(1500)),
            tail: 7.try_into().ok(),
        };
        for query in [some, LogQuery::default()] {
            assert_eq!(parse(&write(query)).unwrap(), query);
        }
        assert_eq!(parse("").unwrap(), LogQuery::default());
        for wrong in ["tail=0", "tail=x", "tail=1000001", "since_ms=-1", "follow=true&tail="] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
