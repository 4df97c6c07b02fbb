//! Endpoints of images: what a warm request is delayed by, beside nginx; how soon the first page comes from nothing,
//! beside runc and containerd; and what a thaw costs.
//!
//! Warm requests and thaws are to a server that answers at once, so that what is measured stands before it. From nothing
//! it is busybox httpd, of whose image everybody has the same files.

mod goals;
mod proxied;
mod server;
mod stand;
mod tables;
mod wakes;

use serde_json::json;

use self::{proxied::Proxied, stand::Stand, wakes::Wakes};
use crate::{Bench, Failure, report::Report, stats};

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let stand = Stand::build(bench)?;
    eprintln!("one request at a time, {} times through and around each proxy …", bench.effort.proxied);
    let proxied = proxied::measure(bench, &stand);
    eprintln!("first pages, {} times from each state and with each peer …", bench.effort.wakes);
    let wakes = wakes::measure(bench, &stand);
    Ok(Report {
        tables: tables::tables(&proxied, &wakes),
        rows: [goals::of_proxied(&proxied), goals::of_wakes(&wakes)].concat(),
        data: json!({ "one_at_a_time": proxied.json(), "first_answers": wakes.json() }),
        plots: tables::plots(&proxied, &wakes),
        flags: flags(&proxied, &wakes),
    })
}

/// Of what is compared with.
fn flags(proxied: &Proxied, wakes: &Wakes) -> Vec<String> {
    let Proxied { together, anywhere, .. } = proxied;
    let floors = [
        ("the server over TCP, on one processor", together.dormouse.as_ref().ok().map(|it| &it.around)),
        ("nginx, on one processor", together.nginx.as_ref().ok().map(|it| &it.through)),
        ("the server over a Unix socket, on one processor", together.nginx.as_ref().ok().map(|it| &it.around)),
        ("the server over TCP", anywhere.dormouse.as_ref().ok().map(|it| &it.around)),
        ("nginx", anywhere.nginx.as_ref().ok().map(|it| &it.through)),
        ("the server over a Unix socket", anywhere.nginx.as_ref().ok().map(|it| &it.around)),
        ("runc", wakes.runc.as_ref().ok().map(|it| &it.first)),
        ("containerd", wakes.containerd.as_ref().ok().map(|it| &it.first)),
    ];
    let flags = floors.into_iter().filter_map(|(what, floor)| Some((what, floor?)));
    flags.flat_map(|(what, floor)| [stats::spread(what, floor), stats::drift(what, floor)]).flatten().collect()
}
