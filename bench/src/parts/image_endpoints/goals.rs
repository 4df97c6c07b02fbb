//! The rows that image endpoints are judged by.

use super::{
    proxied::{Both, Proxied},
    wakes::{Peer, Rested, Wakes},
};
use crate::{
    report::{Row, Unit},
    stats::{Interval, Samples, added, ratio, ratio_of_added},
};

const ADDED_GOAL_MS: f64 = 0.06;
/// Of what nginx adds.
const NGINX_GOAL: f64 = 2.5;
const RUNC_GOAL: f64 = 0.6;
const CONTAINERD_GOAL: f64 = 0.25;
/// Added over warm, in ms: p50 and p99.
const FROZEN_GOALS: [(&str, f64, f64); 2] = [("p50", 0.5, 1.0), ("p99", 0.99, 3.0)];

type Figure = Result<(f64, Option<Interval>, usize), String>;

fn figure((figure, interval): (f64, Interval), samples: &Samples) -> (f64, Option<Interval>, usize) {
    (figure, Some(interval), samples.count())
}

pub(super) fn of_proxied(proxied: &Proxied) -> Vec<Row> {
    [("on one processor", &proxied.together), ("on any processor", &proxied.anywhere)]
        .into_iter()
        .flat_map(|(place, both)| of_both(place, both))
        .collect()
}

fn of_both(place: &str, both: &Both) -> [Row; 2] {
    let ours = both.dormouse.as_ref().map_err(Clone::clone);
    let theirs = both.nginx.as_ref().map_err(Clone::clone);
    let added = ours.clone().map(|ours| figure(added(&ours.through, &ours.around, 0.5), &ours.through));
    let of_nginx = ours.and_then(|ours| Ok(figure(ratio_of_added(ours.both(), theirs?.both()), &ours.through)));
    let over = format!("warm, {place}: added over the same server without us, p50");
    let beside = format!("warm, {place}: what Dormouse adds ÷ what nginx adds, p50");
    [
        Row::new(over, Unit::Milliseconds, Some(ADDED_GOAL_MS), added),
        Row::new(beside, Unit::Ratio, Some(NGINX_GOAL), of_nginx),
    ]
}

pub(super) fn of_wakes(wakes: &Wakes) -> Vec<Row> {
    let zero_over = |peer: &Result<Peer, String>| -> Figure {
        let (ours, theirs) = (wakes.zero.as_ref().map_err(Clone::clone)?, peer.as_ref().map_err(Clone::clone)?);
        Ok(figure(ratio(&ours.first, &theirs.first), &ours.first))
    };
    let over_warm = |rested: &Result<Rested, String>, share| -> Figure {
        let rested = rested.as_ref().map_err(Clone::clone)?;
        Ok(figure(added(&rested.first, &rested.warm, share), &rested.first))
    };
    let mut rows = vec![
        Row::new("zero ÷ runc, to the first page", Unit::Ratio, Some(RUNC_GOAL), zero_over(&wakes.runc)),
        Row::new(
            "zero ÷ containerd and ctr, to the first page",
            Unit::Ratio,
            Some(CONTAINERD_GOAL),
            zero_over(&wakes.containerd),
        ),
    ];
    for (name, share, goal) in FROZEN_GOALS {
        let what = format!("frozen, added over warm, {name}");
        rows.push(Row::new(what, Unit::Milliseconds, Some(goal), over_warm(&wakes.frozen, share)));
    }
    for (name, share, _) in FROZEN_GOALS {
        let what = format!("awake and idle for as long, added over warm, {name}");
        rows.push(Row::new(what, Unit::Milliseconds, None, over_warm(&wakes.awake, share)));
    }
    rows.push(Row::new("creation of an image's container ÷ of a worker's", Unit::Ratio, None, creations(wakes)));
    rows
}

fn creations(wakes: &Wakes) -> Figure {
    let (image, worker) = (wakes.zero.as_ref().map_err(Clone::clone)?, wakes.worker.as_ref().map_err(Clone::clone)?);
    if image.spawner.count() == 0 || worker.spawner.count() == 0 {
        return Err("the daemon told no creation".to_owned());
    }
    Ok(figure(ratio(&image.spawner, &worker.spawner), &image.spawner))
}
