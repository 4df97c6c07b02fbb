use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use dormouse_spec::{Bytes, EndpointError};

/// Why a daemon cannot be configured so; each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}:{line}: {message}", path = path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error(
        "`{0}` is reachable from other machines and nothing is authenticated yet: listen on 127.0.0.1, or write \
         `auth = \"none\"` under [gateway] if everyone who reaches it may call every endpoint"
    )]
    Exposed(SocketAddr),
    #[error("[endpoint.defaults] can start no replica")]
    Defaults(#[from] EndpointError),
    #[error("[sandbox] uid_base {base} + uid_count {count} is beyond the largest uid")]
    UidRange { base: u32, count: u32 },
    #[error("[endpoint.crash_back_off] first is longer than max")]
    BackOff,
    #[error(
        "[images] gc_low_threshold_percent {0} is without effect: write gc_high_threshold_percent, above which images \
         are removed, beside it, or take it out"
    )]
    NoHighThreshold(u8),
    #[error(
        "[images] gc_low_threshold_percent, {low}, is not below gc_high_threshold_percent, {high}: lower the first, \
         which is {DEFAULT_LOW_PERCENT} where it is not written, or raise the second"
    )]
    Thresholds { high: u8, low: u8 },
    #[error("no ONNX Runtime library at {searched}: install it there, or set `onnxruntime` under [sandbox]")]
    NoOnnxRuntime { searched: String },
    #[error(
        "only {available} of memory is available, too little beside the 512 MiB left to the system: set \
         `memory_budget` under [node]"
    )]
    NoMemory { available: Bytes },
    #[error(
        "the blanks of [pool] take {taken}, which leaves nothing of the node's {budget} of memory: lower `size` or \
         `memory` there, or raise `memory_budget` under [node]"
    )]
    Pool { budget: Bytes, taken: Bytes },
    #[error("{operation} failed")]
    Machine {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Down to where images are removed, where the file does not say: kubelet's.
pub(super) const DEFAULT_LOW_PERCENT: u8 = 80;

/// What is wrong with a text, before it is known which file it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    line: usize,
    message: String,
}

impl Fault {
    pub(super) fn new(text: &str, mut error: toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let message = match unknown_key(error.message()) {
            Some(message) => message,
            None => with_key(&mut error),
        };
        Self { line, message }
    }

    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        ConfigError::Syntax { path: path.to_owned(), line: self.line, message: self.message }
    }
}

/// Edits between a mistyped key and one worth suggesting.
const SUGGESTION_DISTANCE_MAX: usize = 3;

/// `unknown key …: did you mean …?` out of serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let nearest = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, key), key))
        .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE_MAX)
        .min();
    Some(match nearest {
        Some((_, key)) => format!("unknown key `{unknown}`: did you mean `{key}`?"),
        None => format!("unknown key `{unknown}`: known here are {}", known.join(", ")),
    })
}

/// The message and the dotted key it is about, on one line: `` `gateway.listen`: … ``.
fn with_key(error: &mut toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    // Without its input the error prints "message\nin `key`\n", the only way it tells the key.
    error.set_input(None);
    let printed = error.to_string();
    let key = printed.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    key.map_or_else(|| message.clone(), |key| format!("`{key}`: {message}"))
}
