//! What takes more of something than a replica may have.

use std::{
    fs::{File, OpenOptions},
    hint::{black_box, spin_loop},
    io::{ErrorKind, Read, Write, stdout},
    path::Path,
    process::{abort, exit},
    thread,
    time::Duration,
};

use crate::script::{Bomb, Flood};

/// Taken at a time until the kernel ends it.
const BITE_BYTES: usize = 1 << 20;
const SLOWLY: Duration = Duration::from_millis(5);
/// Small, so that it is their number that counts.
const STACK_BYTES: usize = 128 << 10;

/// Sets it off. What survives it answers with what it got.
pub(super) fn set_off(bomb: Bomb, model: &Path) -> Vec<u64> {
    match bomb {
        Bomb::Threads => {
            let threads = spawn_until_refused(|| rest());
            println!("no thread after {threads} more");
            abort()
        }
        Bomb::Spin => {
            spawn_until_refused(|| spin());
            spin()
        }
        Bomb::Memory => eat_memory(Duration::ZERO),
        Bomb::MemorySlowly => eat_memory(SLOWLY),
        Bomb::PageCache { hold_mebibytes, rounds } => {
            let held = vec![1_u8; hold_mebibytes << 20];
            let read: u64 = (0..rounds).map(|_| read_through(model)).sum();
            black_box(held);
            vec![read]
        }
        Bomb::Descriptors => eat_descriptors(),
        Bomb::Tmp => vec![fill(Path::new("/tmp/filler"))],
        Bomb::Files => vec![(0..).find(|number| File::create(format!("/tmp/{number}")).is_err()).unwrap_or_default()],
        Bomb::Log { flood, mebibytes } => {
            print_flood(flood, mebibytes << 20);
            Vec::new()
        }
        Bomb::Stall => rest(),
    }
}

fn rest() -> ! {
    loop {
        thread::park();
    }
}

fn spin() -> ! {
    loop {
        spin_loop();
    }
}

fn spawn_until_refused(body: fn() -> !) -> usize {
    (0..).find(|_| thread::Builder::new().stack_size(STACK_BYTES).spawn(move || body()).is_err()).unwrap_or_default()
}

pub(super) fn eat_memory(pause: Duration) -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; BITE_BYTES]);
        // Nothing a worker may ask of the kernel sleeps, but a futex with a timeout does.
        thread::park_timeout(pause);
    }
}

fn read_through(file: &Path) -> u64 {
    let mut file = File::open(file).unwrap();
    let mut buffer = vec![0; BITE_BYTES];
    let mut read = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return read,
            bytes => read += bytes as u64,
        }
    }
}

/// Exits with the number of the kernel's refusal.
fn eat_descriptors() -> ! {
    let mut open = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    println!("no descriptor after {} more: {error}", open.len());
    exit(error.raw_os_error().unwrap_or_default())
}

/// Writes until there is no room, and tells how much there was.
fn fill(path: &Path) -> u64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut written = 0;
    let error = loop {
        match file.write(&[1; BITE_BYTES]) {
            Ok(bytes) => written += bytes as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    written
}

fn print_flood(flood: Flood, bytes: usize) {
    let piece: Vec<u8> = match flood {
        Flood::Lines => b"all work and no play\n".repeat(1000),
        Flood::Endless => b"on and on ".repeat(2000),
        Flood::Binary => (0..=u8::MAX).cycle().take(20_000).collect(),
        Flood::Escapes => b"\x1b]0;owned\x07\x1b[2J\x1b[1;1H\x1b[6n\xc2\x9b2Jfake prompt# \r\n".repeat(500),
    };
    for _ in 0..bytes.div_ceil(piece.len()) {
        stdout().write_all(&piece).unwrap();
    }
}
