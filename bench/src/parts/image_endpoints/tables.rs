//! Times, as they are: they belong to this machine.

use super::{
    proxied::{Both, Pair, Proxied},
    wakes::Wakes,
};
use crate::{
    report::{Strip, Table, Unit, strips},
    stats::Samples,
};

/// What is told of each, or why it was not measured, and whether it is compared with.
type Line<'a> = (String, Result<&'a Samples, &'a String>, bool);

fn of_proxied<'a>(both: &'a Both, nginx_version: &str) -> Vec<Line<'a>> {
    fn told(pair: &Result<Pair, String>, of: fn(&Pair) -> &Samples) -> Result<&Samples, &String> {
        pair.as_ref().map(of)
    }
    let through = |pair| told(pair, |pair| &pair.through);
    let around = |pair| told(pair, |pair| &pair.around);
    vec![
        ("through Dormouse, from an image".to_owned(), through(&both.dormouse), false),
        ("the same server, over TCP".to_owned(), around(&both.dormouse), true),
        (format!("through {nginx_version}"), through(&both.nginx), false),
        ("the same server, over a Unix socket".to_owned(), around(&both.nginx), true),
    ]
}

fn of_wakes(wakes: &Wakes) -> Vec<Line<'_>> {
    let version = |peer: &Result<super::wakes::Peer, String>, otherwise: &str| {
        peer.as_ref().map_or_else(|_| otherwise.to_owned(), |peer| peer.version.clone())
    };
    vec![
        ("busybox httpd: zero".to_owned(), wakes.zero.as_ref().map(|it| &it.first), false),
        (format!("busybox httpd: {}", version(&wakes.runc, "runc")), wakes.runc.as_ref().map(|it| &it.first), true),
        (
            format!("busybox httpd: {}", version(&wakes.containerd, "containerd and ctr")),
            wakes.containerd.as_ref().map(|it| &it.first),
            true,
        ),
        ("busybox httpd: creation of its container".to_owned(), wakes.zero.as_ref().map(|it| &it.spawner), false),
        ("tiny_mlp: creation of its container".to_owned(), wakes.worker.as_ref().map(|it| &it.spawner), true),
        ("server: frozen".to_owned(), wakes.frozen.as_ref().map(|it| &it.first), false),
        ("server: warm, after it was frozen".to_owned(), wakes.frozen.as_ref().map(|it| &it.warm), true),
        ("server: awake".to_owned(), wakes.awake.as_ref().map(|it| &it.first), false),
        ("server: warm, after it was awake".to_owned(), wakes.awake.as_ref().map(|it| &it.warm), true),
    ]
}

pub(super) fn tables(proxied: &Proxied, wakes: &Wakes) -> Vec<Table> {
    let of_both = |both| of_proxied(both, &proxied.nginx_version);
    vec![
        table("one request at a time, connections kept, on one processor", &of_both(&proxied.together)),
        table("the same on any processor", &of_both(&proxied.anywhere)),
        table("first answers, and what is in them", &of_wakes(wakes)),
    ]
}

pub(super) fn plots(proxied: &Proxied, wakes: &Wakes) -> Vec<(String, String)> {
    let of_both = |both| of_proxied(both, &proxied.nginx_version);
    vec![
        (
            "warm".to_owned(),
            plot("an image endpoint: one request at a time, on one processor", of_both(&proxied.together)),
        ),
        ("warm-anywhere".to_owned(), plot("the same on any processor", of_both(&proxied.anywhere))),
        ("wakes".to_owned(), plot("images: to the first page", of_wakes(wakes))),
    ]
}

fn plot(title: &str, lines: Vec<Line<'_>>) -> String {
    let all = lines.into_iter().map(|(label, samples, is_floor)| Strip { label, samples: samples.ok(), is_floor });
    strips(title, &all.collect::<Vec<_>>())
}

fn table(title: &str, lines: &[Line<'_>]) -> Table {
    let mut table = Table::new(&[title, "p50", "p99", "least", "n"]);
    for (what, samples, _) in lines {
        match samples {
            Ok(samples) => {
                let time = |share| Unit::Milliseconds.figure(samples.percentile(share));
                table.row([what.clone(), time(0.5), time(0.99), time(0.0), samples.count().to_string()]);
            }
            Err(reason) => {
                let empty = String::new;
                table.row([what.clone(), format!("FAILED: {reason}"), empty(), empty(), empty()]);
            }
        }
    }
    table
}
