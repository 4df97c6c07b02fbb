//! Unpacking the layers of an image, beside gzip and tar with the same layers on the same file system, in turns.
//!
//! Storing the blobs is no part of it: they are there. Both sides write each layer's files to the disk before the next
//! one begins.

mod tar;
mod unpacker;

use std::{fs::File, path::Path};

use rustix::fs::syncfs;
use serde_json::json;

use self::unpacker::{Order, Unpacked, Unpacker};
use crate::{
    Bench, Failure,
    image::Layout,
    report::{Report, Row, Strip, Table, Unit, strips},
    stats::{self, Samples, ratio},
};

const RATIO_GOAL: f64 = 1.5;
const MEMORY_GOAL_MB: f64 = 64.0;
const MEGABYTE: f64 = 1e6;

/// The image, and what was measured of it.
#[derive(Debug)]
struct Unpackings {
    bytes: u64,
    entries: u64,
    layers: usize,
    tar: Samples,
    one_by_one: Samples,
    at_once: Samples,
    /// Of each of ours, in bytes.
    resident_peaks: Samples,
}

pub(super) fn measure(bench: &Bench) -> Result<Report, Failure> {
    let layout = Layout::open(&bench.setup.join("images/large"))?;
    eprintln!("unpacking {} layers {} times each way …", layout.layers.len(), bench.effort.unpackings);
    let unpackings = in_turns(bench, &layout)?;
    let mut report = Report { tables: vec![unpackings.table()], rows: unpackings.rows(), ..Report::default() };
    report.flags.extend(stats::spread("tar", &unpackings.tar));
    report.flags.extend(stats::drift("tar", &unpackings.tar));
    report.plots.push(("times".to_owned(), unpackings.plot()));
    report.data = json!({
        "bytes": unpackings.bytes, "entries": unpackings.entries, "layers": unpackings.layers,
        "tar_ms": unpackings.tar.values(), "one_by_one_ms": unpackings.one_by_one.values(),
        "at_once_ms": unpackings.at_once.values(), "resident_peak_bytes": unpackings.resident_peaks.values(),
    });
    Ok(report)
}

fn in_turns(bench: &Bench, layout: &Layout) -> Result<Unpackings, Failure> {
    // Beside the builds: where temporary files go may be memory.
    let home = tempfile::Builder::new().prefix("images-").tempdir_in(bench.workspace.join("target"))?;
    let (data, trees) = (home.path().join("data"), home.path().join("trees"));
    std::fs::create_dir(&trees)?;
    let mut unpacker = Unpacker::start(bench, layout, &data)?;
    // Whatever each does once is done by now, and the layers are in the page cache.
    tar::unpack(&layout.layers, &trees)?;
    let Unpacked { bytes, entries, .. } = unpacker.unpack(Order::OneByOne)?;
    let mut unpackings = Unpackings::of(layout, bytes, entries);
    for _ in 0..bench.effort.unpackings {
        settle(home.path())?;
        unpackings.tar.push(tar::unpack(&layout.layers, &trees)?);
        for order in [Order::OneByOne, Order::AtOnce] {
            settle(home.path())?;
            unpackings.note(order, unpacker.unpack(order)?);
        }
    }
    Ok(unpackings)
}

/// Before every sample: what the one before has removed is nobody's to wait for.
fn settle(place: &Path) -> Result<(), Failure> {
    Ok(syncfs(File::open(place)?)?)
}

impl Unpackings {
    fn of(layout: &Layout, bytes: u64, entries: u64) -> Self {
        let (tar, one_by_one, at_once, resident_peaks) = Default::default();
        Self { bytes, entries, layers: layout.layers.len(), tar, one_by_one, at_once, resident_peaks }
    }

    fn note(&mut self, order: Order, unpacked: Unpacked) {
        let samples = match order {
            Order::OneByOne => &mut self.one_by_one,
            Order::AtOnce => &mut self.at_once,
        };
        samples.push(unpacked.took);
        self.resident_peaks.append([unpacked.resident_peak as f64].into_iter().collect());
    }

    fn kinds(&self) -> [(&'static str, &Samples); 3] {
        [
            ("gzip and tar", &self.tar),
            ("Dormouse, one layer after the other", &self.one_by_one),
            ("Dormouse, as a pull asks for them", &self.at_once),
        ]
    }

    fn image(&self) -> String {
        let megabytes = self.bytes as f64 / MEGABYTE;
        format!("{megabytes:.0} MB in {} layers", self.layers)
    }

    fn table(&self) -> Table {
        let title = format!("{}, {} entries", self.image(), self.entries);
        let mut table = Table::new(&[&title, "p50", "MB/s"]);
        for (kind, samples) in self.kinds() {
            let seconds = samples.median() / 1e3;
            let rate = self.bytes as f64 / MEGABYTE / seconds;
            table.row([kind.to_owned(), Unit::Milliseconds.figure(samples.median()), format!("{rate:.0}")]);
        }
        table
    }

    fn rows(&self) -> Vec<Row> {
        let image = self.image();
        let over_tar = |samples: &Samples| {
            let (figure, interval) = ratio(samples, &self.tar);
            Ok((figure, Some(interval), samples.count()))
        };
        let peak = self.resident_peaks.percentile(1.0) / MEGABYTE;
        vec![
            Row::new(
                format!("unpacking {image} ÷ tar -x of the same layers"),
                Unit::Ratio,
                Some(RATIO_GOAL),
                over_tar(&self.one_by_one),
            ),
            Row::new("the same, as a pull asks: two layers at a time", Unit::Ratio, None, over_tar(&self.at_once)),
            Row::new(
                format!("unpacking {image}: peak memory, two layers at a time included"),
                Unit::Megabytes,
                Some(MEMORY_GOAL_MB),
                Ok((peak, None, self.resident_peaks.count())),
            ),
        ]
    }

    fn plot(&self) -> String {
        let strip = |(label, samples): (&'static str, _)| Strip {
            label: label.to_owned(),
            samples: Some(samples),
            is_floor: std::ptr::eq(samples, &self.tar),
        };
        strips(&format!("unpacking {}", self.image()), &self.kinds().map(strip))
    }
}
