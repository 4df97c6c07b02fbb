use std::{env, process, time::SystemTime};

/// Short enough for every change.
const N_DEFAULT: u64 = 40;
/// Each phase of each worker has something to do.
const N_MIN: u64 = 20;

#[derive(Debug)]
pub(crate) struct Options {
    /// Cold wakes, and deploys with deletes.
    pub(crate) n: u64,
    pub(crate) seed: u64,
}

impl Options {
    /// None where `cargo test` was asked for other tests, or for a list.
    pub(crate) fn of_this_run() -> Option<Self> {
        let mut filters = env::args().skip(1).peekable();
        if env::args().any(|argument| argument == "--list") {
            println!("soak: test");
            return None;
        }
        let mut names = filters.by_ref().filter(|argument| !argument.starts_with('-')).peekable();
        if names.peek().is_some() && !names.any(|name| "soak".contains(&name)) {
            return None;
        }
        let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
        let n = number("SOAK_N").unwrap_or(N_DEFAULT);
        assert!(n >= N_MIN, "SOAK_N is at least {N_MIN}");
        Some(Self { n, seed: number("SEED").unwrap_or_else(|| clock() ^ u64::from(process::id()) << 40) })
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}
