//! Takes more of something than a replica may have, up to an end of its own: where the limit is
//! missing, the machine that the suite runs on must not be harmed.

use std::{fs::File, hint::black_box, io::Write, thread};

use dormouse_driver::worker::errno;
use nix::{
    sys::time::TimeValLike,
    time::{ClockId, clock_gettime},
};

/// Small, so that it is the number of threads that counts.
const STACK_BYTES: usize = 64 << 10;

/// `WHAT COUNT`: how much of it there was, and how the kernel refused more if it did.
pub(super) fn bomb(argument: &str) -> String {
    let (what, count) = argument.split_once(' ').unwrap();
    let count = count.parse().unwrap();
    match what {
        "threads" => threads(count),
        "memory" => memory(count),
        "processor" => processor(count),
        "descriptors" => descriptors(count),
        "tmp" => tmp(count),
        _ => panic!("unknown bomb {what}"),
    }
}

fn until_refused(count: u64, mut take: impl FnMut() -> std::io::Result<()>) -> String {
    for taken in 0..count {
        if let Err(error) = take() {
            return format!("{taken} {}", errno(&error));
        }
    }
    count.to_string()
}

fn threads(count: u64) -> String {
    let rest = || {
        loop {
            thread::park();
        }
    };
    until_refused(count, || thread::Builder::new().stack_size(STACK_BYTES).spawn(rest).map(drop))
}

/// In MiB, every page of which is written to.
fn memory(count: u64) -> String {
    let held: Vec<Vec<u8>> = (0..count).map(|_| vec![1; 1 << 20]).collect();
    black_box(held).len().to_string()
}

/// In milliseconds of one processor.
fn processor(count: u64) -> String {
    let used = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().num_milliseconds();
    let end = used() + i64::try_from(count).unwrap();
    while used() < end {}
    count.to_string()
}

fn descriptors(count: u64) -> String {
    let mut open = Vec::new();
    until_refused(count, || File::open("/dev/null").map(|file| open.push(file)))
}

/// In MiB.
fn tmp(count: u64) -> String {
    let mut file = File::create("/tmp/filler").unwrap();
    until_refused(count, || file.write_all(&[1; 1 << 20]))
}
