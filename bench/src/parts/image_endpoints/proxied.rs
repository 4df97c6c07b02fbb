//! One request at a time over connections that are kept: through the daemon, through nginx, and to the same server
//! around each, in turns.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Instant,
};

use serde_json::{Value, json};

use super::{
    server::BareServer,
    stand::{Stand, WARM},
};
use crate::{
    Bench, Failure, daemon::host, http::Connection, peers::nginx::Nginx, processor::OneProcessor, stats::Samples,
};

/// Requests of each kind that follow each other, as those to a warm endpoint do. One of each in turn would meet caches
/// that the others have used since.
const SERIES: usize = 20;
/// Of all series, so many come first and are no samples.
const WARM_UP_SHARE: usize = 10;

/// A proxy, and the server behind it asked directly, over the kind of connection that the proxy has to it.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) through: Samples,
    pub(super) around: Samples,
}

/// Dormouse and nginx, with everything that takes part on the same processors.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) dormouse: Result<Pair, String>,
    pub(super) nginx: Result<Pair, String>,
}

#[derive(Debug)]
pub(super) struct Proxied {
    /// All on one: what a proxy does itself.
    pub(super) together: Both,
    /// Wherever the kernel has them run: with the waking of other processors, or without.
    pub(super) anywhere: Both,
    pub(super) nginx_version: String,
}

pub(super) fn measure(bench: &Bench, stand: &Stand) -> Proxied {
    let mut dormouse = through_dormouse(bench, stand).map_err(|error| error.to_string());
    let mut nginx = through_nginx(bench, stand).map_err(|error| error.to_string());
    let mut in_turns = || {
        let series = bench.effort.proxied.div_ceil(SERIES);
        let warm_up = series.div_ceil(WARM_UP_SHARE);
        for number in 0..warm_up + series {
            let is_sample = number >= warm_up;
            go(&mut dormouse, |lane| lane.series(&stand.answer, is_sample));
            go(&mut nginx, |lane| lane.series(&stand.answer, is_sample));
        }
        Both { dormouse: taken(&mut dormouse), nginx: taken(&mut nginx) }
    };
    let anywhere = in_turns();
    let together = match OneProcessor::for_all() {
        Ok(_one) => in_turns(),
        Err(error) => Both { dormouse: Err(error.to_string()), nginx: Err(error.to_string()) },
    };
    let nginx_version = nginx.as_ref().map_or_else(|_| "nginx".to_owned(), |lane| lane.running.0.version().to_owned());
    Proxied { together, anywhere, nginx_version }
}

/// Goes on with what has not failed.
fn go<T>(lane: &mut Result<T, String>, on: impl FnOnce(&mut T) -> Result<(), Failure>) {
    if let Ok(running) = lane
        && let Err(error) = on(running)
    {
        *lane = Err(error.to_string());
    }
}

fn taken<R, S>(lane: &mut Result<Lane<R, S>, String>) -> Result<Pair, String> {
    lane.as_mut().map(|lane| std::mem::take(&mut lane.pair)).map_err(|error| error.clone())
}

fn through_dormouse(bench: &Bench, stand: &Stand) -> Result<Lane<BareServer, TcpStream>, Failure> {
    stand.deploy(&WARM)?;
    let server = BareServer::on_tcp(bench)?;
    let (through, around) = (stand.daemon.connect()?, server.connect_tcp()?);
    Ok(Lane { through, around, pair: Pair::default(), running: server })
}

fn through_nginx(bench: &Bench, stand: &Stand) -> Result<Lane<(Nginx, BareServer), UnixStream>, Failure> {
    let socket = stand.directory().join("server.sock");
    let server = BareServer::on_unix(bench, &socket)?;
    let nginx = Nginx::start(&socket)?;
    let (through, around) = (nginx.connect()?, server.connect_unix()?);
    Ok(Lane { through, around, pair: Pair::default(), running: (nginx, server) })
}

/// A way through and a way around, up to the first failure.
struct Lane<R, S> {
    through: Connection<TcpStream>,
    around: Connection<S>,
    pair: Pair,
    /// Ends with it.
    running: R,
}

impl<R, S: Read + Write> Lane<R, S> {
    fn series(&mut self, answer: &[u8], is_sample: bool) -> Result<(), Failure> {
        let Pair { through, around } = &mut self.pair;
        series(&mut self.through, answer, is_sample.then_some(through))?;
        series(&mut self.around, answer, is_sample.then_some(around))
    }
}

fn series<S: Read + Write>(
    connection: &mut Connection<S>,
    expected: &[u8],
    mut samples: Option<&mut Samples>,
) -> Result<(), Failure> {
    let host = host(WARM.name);
    for _ in 0..SERIES {
        let begun = Instant::now();
        let answer = connection.get(&host, "/")?;
        let took = begun.elapsed();
        if answer != expected {
            return Err(format!("another answer: {:?}", String::from_utf8_lossy(&answer)).into());
        }
        if let Some(samples) = &mut samples {
            samples.push(took);
        }
    }
    Ok(())
}

impl Pair {
    pub(super) fn both(&self) -> [&Samples; 2] {
        [&self.through, &self.around]
    }
}

impl Proxied {
    pub(super) fn json(&self) -> Value {
        let pair = |pair: &Result<Pair, String>| match pair {
            Ok(Pair { through, around }) => {
                json!({ "through_ms": through.values(), "around_ms": around.values() })
            }
            Err(reason) => json!({ "failed": reason }),
        };
        let both = |both: &Both| json!({ "dormouse": pair(&both.dormouse), "nginx": pair(&both.nginx) });
        json!({
            "on_one_processor": both(&self.together),
            "on_any_processor": both(&self.anywhere),
            "nginx_version": self.nginx_version,
        })
    }
}
