//! One request at a time, through the daemon and to the bare worker in turns: what the way in between adds.

use std::time::Instant;

use super::server::Server;
use crate::{Bench, Failure, models::Model, stats::Samples};

/// Over connections that are kept, each answer awaited.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) dormouse: Samples,
    pub(super) bare: Samples,
}

pub(super) fn measure(bench: &Bench, model: &Model) -> Result<Alone, Failure> {
    let (dormouse, bare) = (Server::dormouse(bench, model)?, Server::bare(bench, model)?);
    let (Server::Dormouse { daemon, endpoint }, Server::Bare { worker, .. }) = (&dormouse, &bare) else {
        return Err("each server is of its kind".into());
    };
    let (mut through, mut around) = (daemon.connect()?, worker.connect()?);
    let mut alone = Alone { dormouse: Samples::default(), bare: Samples::default() };
    for _ in 0..bench.effort.alone {
        let begun = Instant::now();
        through.infer(endpoint, &model.request)?;
        alone.dormouse.push(begun.elapsed());
        let begun = Instant::now();
        around.infer(model.name, &model.request)?;
        alone.bare.push(begun.elapsed());
    }
    Ok(alone)
}
