//! The command line of a worker.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// How to run a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerArgs {
    /// The ONNX Runtime shared library.
    pub onnxruntime: PathBuf,
    pub mode: Mode,
}

/// Where the model and the socket come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Inside a container: both arrive over the control channel on descriptor 0.
    Contained,
    /// On its own, for tests and measurements.
    Bare(BareArgs),
    /// On its own: prepares a model, and ends.
    Prepare(PrepareArgs),
}

/// What a worker without a container is told on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareArgs {
    pub model: PathBuf,
    /// The model in ORT format, to be used before `model`.
    pub prepared: Option<PathBuf>,
    pub name: String,
    pub version: String,
    pub endpoint: Endpoint,
    pub intra_op_threads: NonZeroUsize,
    /// Limit of a body, on the wire and inflated, in bytes.
    pub body_bytes_max: usize,
    /// Most requests taken in at once.
    pub concurrency: NonZeroUsize,
}

/// What to prepare, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareArgs {
    pub model: PathBuf,
    /// The file that is written.
    pub prepared: PathBuf,
    /// A V2 inference request to compare the answers on.
    pub sample: Option<PathBuf>,
    pub intra_op_threads: NonZeroUsize,
}

/// Where a worker without a container listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket to be made at this path.
    Socket(PathBuf),
    /// A TCP port on a loopback address.
    Loopback(SocketAddr),
}

const INTRA_OP_THREADS_DEFAULT: NonZeroUsize = NonZeroUsize::MIN;
const BODY_BYTES_MAX_DEFAULT: usize = 64 << 20;
const CONCURRENCY_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// The arguments in one line.
const USAGE: &str = "usage: worker --onnxruntime LIBRARY [--bare --model FILE --name NAME \
     (--socket PATH | --listen 127.0.0.1:PORT) [--prepared FILE] [--version V] [--intra-op-threads N] \
     [--body-bytes-max N] [--concurrency N] | --prepare FILE --model FILE [--sample FILE] [--intra-op-threads N]]";

/// Why a command line is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgsError {
    #[error("{0} needs a value; {USAGE}")]
    NoValue(String),
    #[error("unknown argument '{0}'; {USAGE}")]
    Unknown(String),
    #[error("{0} is missing; {USAGE}")]
    Missing(&'static str),
    #[error("{option} cannot be '{value}'; {USAGE}")]
    Value { option: &'static str, value: String },
    #[error("--listen takes a loopback address only, not {0}: the bare worker asks nobody who they are")]
    NotLoopback(SocketAddr),
    #[error("either --bare or --prepare, not both")]
    TwoModes,
    #[error("either --socket or --listen, not both")]
    TwoEndpoints,
}

/// The options as they were written.
#[derive(Default)]
struct Written {
    bare: bool,
    onnxruntime: Option<OsString>,
    prepare: Option<OsString>,
    prepared: Option<OsString>,
    sample: Option<OsString>,
    model: Option<OsString>,
    name: Option<OsString>,
    version: Option<OsString>,
    socket: Option<OsString>,
    listen: Option<OsString>,
    intra_op_threads: Option<OsString>,
    body_bytes_max: Option<OsString>,
    concurrency: Option<OsString>,
}

impl WorkerArgs {
    /// Reads the arguments that follow the program's name (and subcommand).
    ///
    /// # Errors
    /// Unknown, incomplete or contradicting arguments; the message ends in the usage line.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut written = Written::read(arguments)?;
        let onnxruntime = written.onnxruntime.take().ok_or(ArgsError::Missing("--onnxruntime"))?.into();
        let mode = match (written.bare, written.prepare.take()) {
            (false, None) => Mode::Contained,
            (true, None) => Mode::Bare(written.bare_args()?),
            (false, Some(prepared)) => Mode::Prepare(written.prepare_args(prepared.into())?),
            (true, Some(_)) => return Err(ArgsError::TwoModes),
        };
        Ok(Self { onnxruntime, mode })
    }
}

impl Written {
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut written = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let option = argument.to_string_lossy().into_owned();
            let slot = match option.as_str() {
                "--bare" => {
                    written.bare = true;
                    continue;
                }
                "--onnxruntime" => &mut written.onnxruntime,
                "--model" => &mut written.model,
                "--prepare" => &mut written.prepare,
                "--prepared" => &mut written.prepared,
                "--sample" => &mut written.sample,
                "--name" => &mut written.name,
                "--version" => &mut written.version,
                "--socket" => &mut written.socket,
                "--listen" => &mut written.listen,
                "--intra-op-threads" => &mut written.intra_op_threads,
                "--body-bytes-max" => &mut written.body_bytes_max,
                "--concurrency" => &mut written.concurrency,
                _ => return Err(ArgsError::Unknown(option)),
            };
            *slot = Some(arguments.next().ok_or(ArgsError::NoValue(option))?);
        }
        Ok(written)
    }

    fn bare_args(self) -> Result<BareArgs, ArgsError> {
        let text = |value: OsString| value.to_string_lossy().into_owned();
        Ok(BareArgs {
            model: self.model.ok_or(ArgsError::Missing("--model"))?.into(),
            prepared: self.prepared.map(PathBuf::from),
            name: self.name.map(text).ok_or(ArgsError::Missing("--name"))?,
            version: self.version.map_or_else(|| "1".to_owned(), text),
            endpoint: endpoint(self.socket, self.listen)?,
            intra_op_threads: number("--intra-op-threads", self.intra_op_threads, INTRA_OP_THREADS_DEFAULT)?,
            body_bytes_max: number("--body-bytes-max", self.body_bytes_max, BODY_BYTES_MAX_DEFAULT)?,
            concurrency: number("--concurrency", self.concurrency, CONCURRENCY_DEFAULT)?,
        })
    }

    fn prepare_args(self, prepared: PathBuf) -> Result<PrepareArgs, ArgsError> {
        Ok(PrepareArgs {
            model: self.model.ok_or(ArgsError::Missing("--model"))?.into(),
            prepared,
            sample: self.sample.map(PathBuf::from),
            intra_op_threads: number("--intra-op-threads", self.intra_op_threads, INTRA_OP_THREADS_DEFAULT)?,
        })
    }
}

fn endpoint(socket: Option<OsString>, listen: Option<OsString>) -> Result<Endpoint, ArgsError> {
    match (socket, listen) {
        (Some(path), None) => Ok(Endpoint::Socket(path.into())),
        (None, Some(address)) => {
            let address: SocketAddr = parse("--listen", &address)?;
            if address.ip().is_loopback() {
                Ok(Endpoint::Loopback(address))
            } else {
                Err(ArgsError::NotLoopback(address))
            }
        }
        (None, None) => Err(ArgsError::Missing("--socket or --listen")),
        (Some(_), Some(_)) => Err(ArgsError::TwoEndpoints),
    }
}

fn number<T: std::str::FromStr>(option: &'static str, value: Option<OsString>, default: T) -> Result<T, ArgsError> {
    value.map_or(Ok(default), |value| parse(option, &value))
}

fn parse<T: std::str::FromStr>(option: &'static str, value: &OsString) -> Result<T, ArgsError> {
    let value = value.to_string_lossy();
    value.parse().map_err(|_| ArgsError::Value { option, value: value.into_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<WorkerArgs, ArgsError> {
        WorkerArgs::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn contained_needs_the_library_only() {
        let args = parse("--onnxruntime /lib/ort.so").unwrap();
        assert_eq!(args, WorkerArgs { onnxruntime: "/lib/ort.so".into(), mode: Mode::Contained });
    }

    #[test]
    fn bare_has_defaults() {
        let args = parse("--bare --onnxruntime l --model m --name n --listen 127.0.0.1:0").unwrap();
        let Mode::Bare(bare) = args.mode else { panic!("not bare") };
        assert_eq!(bare.version, "1");
        assert_eq!((bare.intra_op_threads.get(), bare.concurrency.get(), bare.body_bytes_max), (1, 4, 64 << 20));
    }

    #[test]
    fn wrong_usage_is_told() {
        for (line, expected) in [
            ("", "--onnxruntime is missing"),
            ("--onnxruntime", "--onnxruntime needs a value"),
            ("--onnxruntime l --wat", "unknown argument '--wat'"),
            ("--onnxruntime l --prepare f", "--model is missing"),
            ("--onnxruntime l --bare --prepare f --model m --name n --socket s", "either --bare or --prepare"),
            ("--onnxruntime l --bare --model m --name n", "--socket or --listen is missing"),
            ("--onnxruntime l --bare --model m --name n --socket s --listen [::1]:1", "not both"),
            ("--onnxruntime l --bare --model m --name n --listen 0.0.0.0:80", "loopback address only"),
            ("--onnxruntime l --bare --model m --name n --socket s --concurrency 0", "--concurrency cannot be '0'"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(expected), "{line}");
        }
    }
}
