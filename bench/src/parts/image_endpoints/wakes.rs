//! First answers, each after an idle second, in turns: ours from zero and from a frozen replica, and those of others
//! from nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stand::{AWAKE, Endpoint, FROZEN, PAGE, Stand, WORKER, ZERO};
use crate::{
    Bench, Failure,
    parts::rest::idle,
    peers::{containerd::ContainerdImage, runc::RuncImage},
    stats::Samples,
};

/// One endpoint of ours.
#[derive(Debug, Default)]
pub(super) struct Rested {
    pub(super) first: Samples,
    /// A further request after each of the first.
    pub(super) warm: Samples,
    /// The spawner's part of each: where it was created, the creation.
    pub(super) spawner: Samples,
}

#[derive(Debug)]
pub(super) struct Wakes {
    pub(super) zero: Result<Rested, String>,
    pub(super) worker: Result<Rested, String>,
    pub(super) frozen: Result<Rested, String>,
    pub(super) awake: Result<Rested, String>,
    pub(super) runc: Result<Peer, String>,
    pub(super) containerd: Result<Peer, String>,
}

/// Who runs an image otherwise.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) version: String,
    pub(super) first: Samples,
}

/// What is sampled round after round, up to its first failure.
struct Lane<T>(Result<T, String>);

impl<T> Lane<T> {
    fn begin(begun: Result<T, Failure>) -> Self {
        Self(begun.map_err(|error| error.to_string()))
    }

    fn sample(&mut self, take: impl FnOnce(&mut T) -> Result<(), Failure>) {
        if let Ok(state) = &mut self.0
            && let Err(error) = take(state)
        {
            self.0 = Err(error.to_string());
        }
    }
}

pub(super) fn measure(bench: &Bench, stand: &Stand) -> Wakes {
    let web = stand.bring_web(bench).map_err(|error| error.to_string());
    let of_web = || web.as_ref().map_err(|reason| Failure::from(reason.clone()));
    // With what is done once behind it.
    let mut runc = Lane::begin(of_web().and_then(|web| {
        let mut image = RuncImage::find(&web.layout, PAGE)?;
        image.first_page()?;
        Ok((image, Samples::default()))
    }));
    let mut containerd = Lane::begin(of_web().and_then(|web| {
        let mut image = ContainerdImage::find(&web.archive, PAGE)?;
        image.first_page()?;
        Ok((image, Samples::default()))
    }));
    let mut ours = [&ZERO, &WORKER, &FROZEN, &AWAKE]
        .map(|endpoint| (endpoint, Lane::begin(stand.deploy(endpoint).map(|()| Rested::default()))));
    for _ in 0..bench.effort.wakes {
        for (endpoint, lane) in &mut ours {
            lane.sample(|rested| woken(stand, endpoint, rested));
        }
        runc.sample(|(image, first)| from_nothing(first, || image.first_page()));
        containerd.sample(|(image, first)| from_nothing(first, || image.first_page()));
    }
    let [zero, worker, frozen, awake] = ours.map(|(_, lane)| lane.0);
    let runc = runc.0.map(|(image, first)| Peer { version: image.version(), first });
    let containerd = containerd.0.map(|(image, first)| Peer { version: image.version(), first });
    Wakes { zero, worker, frozen, awake, runc, containerd }
}

fn woken(stand: &Stand, endpoint: &Endpoint, rested: &mut Rested) -> Result<(), Failure> {
    stand.daemon.until_phases(endpoint.name, endpoint.rest.phases())?;
    idle();
    let asked = Instant::now();
    rested.first.push(stand.wake(endpoint)?);
    if let Some(milliseconds) = stand.told(endpoint, asked)?.and_then(|wake| wake.spawner_ms) {
        rested.spawner.append([milliseconds].into_iter().collect());
    }
    // The second one meets what the first left in caches, the third is as any other.
    stand.wake(endpoint)?;
    rested.warm.push(stand.wake(endpoint)?);
    Ok(())
}

fn from_nothing(first: &mut Samples, page: impl FnOnce() -> Result<Duration, Failure>) -> Result<(), Failure> {
    idle();
    first.push(page()?);
    Ok(())
}

impl Wakes {
    pub(super) fn json(&self) -> Value {
        let rested = |rested: &Result<Rested, String>| match rested {
            Ok(it) => json!({
                "first_ms": it.first.values(), "warm_ms": it.warm.values(), "spawner_ms": it.spawner.values(),
            }),
            Err(reason) => json!({ "failed": reason }),
        };
        let peer = |peer: &Result<Peer, String>| match peer {
            Ok(it) => json!({ "version": it.version, "first_ms": it.first.values() }),
            Err(reason) => json!({ "failed": reason }),
        };
        json!({
            "zero": rested(&self.zero), "worker": rested(&self.worker), "frozen": rested(&self.frozen),
            "awake": rested(&self.awake), "runc": peer(&self.runc), "containerd": peer(&self.containerd),
        })
    }
}
