use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    Failure,
    http::Connection,
    models::{Answer, Model},
};

/// So many requests may be under way; more than that wait for a connection, and their wait counts.
const CONNECTIONS: usize = 16;
/// A histogram tells latencies up to this; a longer one counts as this long.
const LATENCY_MAX_US: u64 = 60_000_000;
/// Digits that a histogram keeps of a latency.
const DIGITS: u8 = 3;
/// Threads begin together, after this.
const LEAD: Duration = Duration::from_millis(50);
/// Answers compared with the right one: the first of each connection, and each so many after it.
const CHECK_EVERY: usize = 64;

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) at: Door,
    pub(crate) endpoint: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Of all requests that were due in a span.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Microseconds from when they were due.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) failed: usize,
    /// The first failure.
    pub(crate) why: Option<String>,
    /// From the beginning to the last answer.
    pub(crate) took: Duration,
}

impl Outcome {
    fn new() -> Result<Self, Failure> {
        let latencies = Histogram::new_with_max(LATENCY_MAX_US, DIGITS).map_err(|error| error.to_string())?;
        Ok(Self { latencies, failed: 0, why: None, took: Duration::ZERO })
    }

    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1e3
    }

    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn take_in(&mut self, due: Duration, begun: Instant, answer: Result<(), Failure>) {
        let now = begun.elapsed();
        self.took = self.took.max(now);
        match answer {
            Ok(()) => {
                let micros = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(micros);
            }
            Err(error) => {
                self.failed += 1;
                self.why.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn merge(&mut self, other: Self) -> Result<(), Failure> {
        self.latencies.add(&other.latencies).map_err(|error| error.to_string())?;
        self.failed += other.failed;
        self.took = self.took.max(other.took);
        self.why = self.why.take().or(other.why);
        Ok(())
    }
}

/// Sends a request of `model` to `target` at each of `arrivals`.
pub(crate) fn run(
    target: &Target,
    model: &Model,
    reference: &Answer,
    arrivals: &[Duration],
) -> Result<Outcome, Failure> {
    let begun = Instant::now() + LEAD;
    let next = AtomicUsize::new(0);
    let connection = || -> Result<Outcome, Failure> {
        match &target.at {
            Door::Tcp(address) => {
                let connect = || {
                    let stream = TcpStream::connect(address)?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                };
                serve(connect, target, model, reference, arrivals, begun, &next)
            }
            Door::Unix(path) => serve(|| UnixStream::connect(path), target, model, reference, arrivals, begun, &next),
        }
    };
    let outcomes: Vec<Result<Outcome, String>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| connection().map_err(|error| error.to_string()))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|outcome| outcome.unwrap_or_else(|_| Err("a client panicked".to_owned()))).collect()
    });
    let mut all = Outcome::new()?;
    for outcome in outcomes {
        all.merge(outcome?)?;
    }
    Ok(all)
}

/// One connection: takes whichever request is due next.
fn serve<S: Read + Write>(
    connect: impl Fn() -> std::io::Result<S>,
    target: &Target,
    model: &Model,
    reference: &Answer,
    arrivals: &[Duration],
    begun: Instant,
    next: &AtomicUsize,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::new()?;
    let mut connection = None;
    let mut sent = 0;
    while let Some(due) = arrivals.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
        thread::sleep((begun + due).saturating_duration_since(Instant::now()));
        let mut exchange = || -> std::io::Result<Vec<u8>> {
            if connection.is_none() {
                connection = Some(Connection::new(connect()?));
            }
            connection.as_mut().map_or(Ok(Vec::new()), |open| open.infer(&target.endpoint, &model.request))
        };
        let answered = exchange();
        let is_checked = sent % CHECK_EVERY == 0;
        sent += 1;
        match answered {
            Ok(body) if !is_checked => {
                outcome.take_in(due, begun, Ok(()));
                drop(body);
            }
            Ok(body) => {
                outcome.take_in(due, begun, Ok(()));
                // Compared once its time is taken.
                Answer::parse(&body)?.check(reference)?;
            }
            Err(error) => {
                connection = None;
                outcome.take_in(due, begun, Err(error.into()));
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests;
