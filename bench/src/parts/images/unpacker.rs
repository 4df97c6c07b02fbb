//! Our side: a spawner that is asked as a node asks it, and the memory of what unpacks meanwhile.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::{
    Bench, Failure,
    image::Layout,
    process::{family, is_in_group, resident_peak},
    sandbox::{self, Sandbox},
};

/// Between two looks at its memory. The kernel keeps the peak; what a process adds in its last moment is missed.
const LOOK: Duration = Duration::from_millis(5);
/// How the control group of what unpacks a layer begins.
const GROUP: &str = "layer-";

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    OneByOne,
    /// As a pull asks: the spawner unpacks two at a time.
    AtOnce,
}

/// All layers of the image, once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unpacked {
    pub(super) took: Duration,
    /// Of the archives, decompressed.
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// All processes that unpacked at a time, in bytes: what they share counts in each.
    pub(super) resident_peak: u64,
}

#[derive(Debug)]
pub(super) struct Unpacker(Sandbox);

impl Unpacker {
    pub(super) fn start(bench: &Bench, layout: &Layout, data: &Path) -> Result<Self, Failure> {
        let places = ["layers".to_owned(), data.display().to_string(), layout.blobs.display().to_string()];
        let digests = layout.layers.iter().flat_map(|layer| [layer.blob.clone(), layer.diff_id.clone()]);
        let arguments: Vec<String> = places.into_iter().chain(digests).collect();
        Ok(Self(Sandbox::start(&sandbox::program(bench)?, &arguments)?))
    }

    pub(super) fn unpack(&mut self, order: Order) -> Result<Unpacked, Failure> {
        let what = match order {
            Order::OneByOne => "one by one",
            Order::AtOnce => "at once",
        };
        let pid = self.0.pid();
        let (answer, resident_peak) = watched(pid, || self.0.ask(what));
        let [micros, bytes, entries] = answer?;
        if resident_peak == 0 {
            return Err(format!("no process was seen in a control group {GROUP}…").into());
        }
        Ok(Unpacked { took: Duration::from_micros(micros), bytes, entries, resident_peak })
    }
}

/// Works, and looks at the memory of what unpacks until that is done.
fn watched<T>(pid: i32, work: impl FnOnce() -> T) -> (T, u64) {
    let (working, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let looking = scope.spawn(move || {
            let mut peak = 0;
            while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(memory(pid));
            }
            peak
        });
        let done = work();
        drop(working);
        (done, looking.join().unwrap_or_default())
    })
}

fn memory(pid: i32) -> u64 {
    let unpacking = family(pid).into_iter().filter(|pid| is_in_group(*pid, GROUP));
    unpacking.filter_map(resident_peak).sum()
}
