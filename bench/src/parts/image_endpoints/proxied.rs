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
use crate::{Bench, Failure, daemon::host, http::Connection, peers::nginx::Nginx, stats::Samples};

/// Of all samples, so many more come first and are no samples.
const WARM_UP_SHARE: usize = 10;

/// A proxy, and the server behind it asked directly, over the kind of connection that the proxy has to it.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) through: Samples,
    pub(super) around: Samples,
}

#[derive(Debug)]
pub(super) struct Proxied {
    pub(super) dormouse: Result<Pair, String>,
    pub(super) nginx: Result<Pair, String>,
    pub(super) nginx_version: String,
}

pub(super) fn measure(bench: &Bench, stand: &Stand) -> Proxied {
    let mut dormouse = Ours::begin(bench, stand).map_err(|error| error.to_string());
    let mut nginx = Theirs::begin(bench, stand).map_err(|error| error.to_string());
    let warm_up = bench.effort.proxied / WARM_UP_SHARE;
    for round in 0..warm_up + bench.effort.proxied {
        let is_sample = round >= warm_up;
        dormouse = dormouse.and_then(|it| it.sampled(&stand.answer, is_sample).map_err(|error| error.to_string()));
        nginx = nginx.and_then(|it| it.sampled(&stand.answer, is_sample).map_err(|error| error.to_string()));
    }
    let nginx_version = nginx.as_ref().map_or_else(|_| "nginx".to_owned(), |it| it.nginx.version().to_owned());
    Proxied { dormouse: dormouse.map(|it| it.pair), nginx: nginx.map(|it| it.pair), nginx_version }
}

struct Ours {
    _server: BareServer,
    through: Connection<TcpStream>,
    around: Connection<TcpStream>,
    pair: Pair,
}

impl Ours {
    fn begin(bench: &Bench, stand: &Stand) -> Result<Self, Failure> {
        stand.deploy(&WARM)?;
        let server = BareServer::on_tcp(bench)?;
        let (through, around) = (stand.daemon.connect()?, server.connect_tcp()?);
        Ok(Self { _server: server, through, around, pair: Pair::default() })
    }

    fn sampled(mut self, answer: &[u8], is_sample: bool) -> Result<Self, Failure> {
        ask(&mut self.through, &host(WARM.name), answer, is_sample.then_some(&mut self.pair.through))?;
        ask(&mut self.around, &host(WARM.name), answer, is_sample.then_some(&mut self.pair.around))?;
        Ok(self)
    }
}

struct Theirs {
    nginx: Nginx,
    _server: BareServer,
    through: Connection<TcpStream>,
    around: Connection<UnixStream>,
    pair: Pair,
}

impl Theirs {
    fn begin(bench: &Bench, stand: &Stand) -> Result<Self, Failure> {
        let socket = stand.directory().join("server.sock");
        let server = BareServer::on_unix(bench, &socket)?;
        let nginx = Nginx::start(&socket)?;
        let (through, around) = (nginx.connect()?, server.connect_unix()?);
        Ok(Self { nginx, _server: server, through, around, pair: Pair::default() })
    }

    fn sampled(mut self, answer: &[u8], is_sample: bool) -> Result<Self, Failure> {
        ask(&mut self.through, &host(WARM.name), answer, is_sample.then_some(&mut self.pair.through))?;
        ask(&mut self.around, &host(WARM.name), answer, is_sample.then_some(&mut self.pair.around))?;
        Ok(self)
    }
}

fn ask<S: Read + Write>(
    connection: &mut Connection<S>,
    host: &str,
    expected: &[u8],
    samples: Option<&mut Samples>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let answer = connection.get(host, "/")?;
    let took = begun.elapsed();
    if answer != expected {
        return Err(format!("another answer: {:?}", String::from_utf8_lossy(&answer)).into());
    }
    if let Some(samples) = samples {
        samples.push(took);
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
        json!({ "dormouse": pair(&self.dormouse), "nginx": pair(&self.nginx), "nginx_version": self.nginx_version })
    }
}
