//! How it is seen that a container takes requests: `readinessProbe` and `startupProbe`. And that it lives:
//! `livenessProbe`.

use std::time::Duration;

use crate::{EndpointRequest, Probe, ProbeHandler};

use super::{
    super::{
        ManifestError, Note, Problem,
        field::{Field, Mapping, SECONDS_MAX},
        kubernetes,
    },
    exec, grpc, http_get,
    port::Port,
};

/// The ways to look, of which a probe has one.
const HANDLERS: [&str; 4] = ["httpGet", "tcpSocket", "grpc", "exec"];
const THRESHOLD_MAX: u32 = 1_000_000;

/// What says when a replica takes requests.
pub(super) struct Probes {
    pub(super) readiness: Option<Probe>,
    /// Before that, where it asks for something else.
    pub(super) startup: Option<Probe>,
}

/// A startup probe sets the deadline of starts, and is asked before the readiness probe.
pub(super) fn read(
    readiness: Option<Field>,
    startup: Option<Field>,
    port: &Port,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Probes, ManifestError> {
    let startup = startup.map(|startup| read_startup(startup, port, endpoint, notes)).transpose()?;
    let readiness = readiness.map(|readiness| read_readiness(readiness, port, notes)).transpose()?;
    let asks_the_same = |startup: &Probe| readiness.as_ref().is_some_and(|it| it.handler == startup.handler);
    let startup = startup.filter(|startup| !asks_the_same(startup));
    Ok(Probes { readiness, startup })
}

fn read_readiness(field: Field, port: &Port, notes: &mut Vec<Note>) -> Result<Probe, ManifestError> {
    let mut probe = field.mapping()?;
    let successes = probe.take("successThreshold").as_ref().map(threshold).transpose()?;
    let failures = probe.take("failureThreshold").as_ref().map(threshold).transpose()?;
    let read = read_probe(&mut probe, port, notes)?;
    probe.finish(&[kubernetes::PROBE], notes)?;
    Ok(Probe {
        success_threshold: successes.unwrap_or(1),
        failure_threshold: failures.unwrap_or(Probe::FAILURE_THRESHOLD_DEFAULT),
        ..read
    })
}

fn read_startup(
    field: Field,
    port: &Port,
    endpoint: &mut EndpointRequest,
    notes: &mut Vec<Note>,
) -> Result<Probe, ManifestError> {
    let mut probe = field.mapping()?;
    if let Some(successes) = probe.take("successThreshold") {
        successes.count(1, 1, "1; a container starts once")?;
    }
    let failures = probe.take("failureThreshold");
    let read = read_probe(&mut probe, port, notes)?;
    let period = Some(read.period).filter(|period| !period.is_zero()).unwrap_or(Probe::PERIOD_DEFAULT);
    let count = failures.as_ref().map(threshold).transpose()?;
    let count = count.unwrap_or(Probe::FAILURE_THRESHOLD_DEFAULT);
    let deadline = period.saturating_mul(count).saturating_add(read.initial_delay);
    let too_long = probe.fail(Problem::Unsupported("a start of more than a year".to_owned()));
    probe.finish(&[kubernetes::PROBE], notes)?;
    if deadline > Duration::from_secs(SECONDS_MAX.into()) {
        return Err(too_long);
    }
    endpoint.start_deadline = Some(deadline);
    Ok(read)
}

/// Of a replica that has taken requests. Its failures end it, which those of no other probe do.
pub(super) fn read_liveness(field: Field, port: &Port, notes: &mut Vec<Note>) -> Result<Probe, ManifestError> {
    let mut probe = field.mapping()?;
    if let Some(successes) = probe.take("successThreshold") {
        successes.count(1, 1, "1; one look that goes well is enough")?;
    }
    let failures = probe.take("failureThreshold").as_ref().map(threshold).transpose()?;
    let read = read_probe(&mut probe, port, notes)?;
    probe.finish(&[kubernetes::PROBE], notes)?;
    let period = Some(read.period).filter(|period| !period.is_zero()).unwrap_or(Probe::PERIOD_DEFAULT);
    Ok(Probe { period, failure_threshold: failures.unwrap_or(Probe::FAILURE_THRESHOLD_DEFAULT), ..read })
}

fn threshold(field: &Field) -> Result<u32, ManifestError> {
    field.count(1, THRESHOLD_MAX, "at least 1")
}

/// What all kinds of probes have. One that asks for nothing in particular looks whether something listens, as
/// Knative has it.
fn read_probe(probe: &mut Mapping, port: &Port, notes: &mut Vec<Note>) -> Result<Probe, ManifestError> {
    let mut seconds = |name, min, expected| probe.take(name).map(|field| field.seconds(min, expected)).transpose();
    let initial_delay = seconds("initialDelaySeconds", 0, "seconds from 0 to a year")?;
    let period = seconds("periodSeconds", 0, "seconds from 0 to a year")?;
    let timeout = seconds("timeoutSeconds", 1, "seconds from 1 to a year")?;
    let handler = read_handler(probe, port, notes)?;
    Ok(Probe {
        initial_delay: initial_delay.unwrap_or_default(),
        period: period.unwrap_or_default(),
        timeout: timeout.unwrap_or(Probe::TIMEOUT_DEFAULT),
        ..Probe::with(handler)
    })
}

fn read_handler(probe: &mut Mapping, port: &Port, notes: &mut Vec<Note>) -> Result<ProbeHandler, ManifestError> {
    let mut written = HANDLERS.iter().filter_map(|name| Some((*name, probe.take(name)?)));
    let first = written.next();
    if let (Some((before, _)), Some((_, second))) = (&first, written.next()) {
        return Err(second.unsupported(format!("the probe has `{before}` too")));
    }
    match first {
        Some(("httpGet", get)) => http_get::read(get, port, notes),
        Some(("tcpSocket", socket)) => read_tcp(socket, port, notes),
        Some(("grpc", grpc)) => grpc::read(grpc, port),
        Some((_, exec)) => exec::read(exec),
        None => Ok(ProbeHandler::TcpSocket { port: None }),
    }
}

fn read_tcp(field: Field, port: &Port, notes: &mut Vec<Note>) -> Result<ProbeHandler, ManifestError> {
    let mut socket = field.mapping()?;
    let number = socket.take("port");
    socket.finish(&[kubernetes::TCP_SOCKET], notes)?;
    Ok(ProbeHandler::TcpSocket { port: port.named_by(number.as_ref())? })
}
