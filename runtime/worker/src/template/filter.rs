//! The filter of system calls that a forked server puts on itself, on top of its container's.

use std::env::consts::ARCH;

use seccompiler::{BpfProgram, TargetArch, apply_filter_all_threads, compile_from_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::defence::Defence;

/// The file is part of the program. Its whole form is checked where a container's filter is made; here is what is used.
const SERVER: &str = include_str!("../../../../configs/seccomp/server.json");

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("configs/seccomp/server.json is no valid list of system calls")]
    Parse(#[source] serde_json::Error),
    #[error("configs/seccomp/server.json cannot be compiled")]
    Compile(#[source] seccompiler::Error),
    #[error("the list of system calls is compiled to nothing")]
    Nothing,
    #[error("the kernel does not take the filter")]
    Load(#[source] seccompiler::Error),
}

/// Both programs are asked at every call, and of two answers the harder one holds: a program of this compiler knows
/// two answers, and the list has three.
#[derive(Debug)]
pub(super) struct ServerFilter {
    killed: BpfProgram,
    allowed: BpfProgram,
}

#[derive(Debug, Deserialize)]
struct List {
    default_errno: u32,
    allowed: Vec<Allowed>,
    killed: Vec<Killed>,
}

#[derive(Debug, Deserialize)]
struct Allowed {
    name: String,
    only: Option<String>,
    #[serde(default)]
    when: Vec<When>,
}

#[derive(Debug, Deserialize)]
struct When {
    all: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    argument: u8,
    mask: Hex,
    equals: Hex,
}

#[derive(Debug, Deserialize)]
struct Killed {
    names: Vec<String>,
    only: Option<String>,
}

/// Written like `0x5421`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String", into = "u64")]
struct Hex(u64);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        digits.map(Self).ok_or_else(|| format!("`{text}` is not a number like 0x5421"))
    }
}

impl From<Hex> for u64 {
    fn from(hex: Hex) -> Self {
        hex.0
    }
}

impl ServerFilter {
    pub(super) fn compile() -> Result<Self, FilterError> {
        Self::compile_for(ARCH)
    }

    /// The names of architectures are the language's own, but in the list those of the trade.
    fn compile_for(architecture: &str) -> Result<Self, FilterError> {
        let list: List = serde_json::from_str(SERVER).map_err(FilterError::Parse)?;
        let listed_as = if architecture == "aarch64" { "arm64" } else { "x86-64" };
        let is_native = |only: &Option<String>| only.as_ref().is_none_or(|only| only == listed_as);
        let allowed: Vec<Value> =
            list.allowed.iter().filter(|call| is_native(&call.only)).flat_map(Allowed::rules).collect();
        let names = list.killed.iter().filter(|killed| is_native(&killed.only)).flat_map(|killed| &killed.names);
        let killed: Vec<Value> = names.map(|name| json!({ "syscall": name })).collect();
        let architecture = TargetArch::try_from(architecture).map_err(|error| FilterError::Compile(error.into()))?;
        Ok(Self {
            killed: program(architecture, &json!("allow"), &json!("kill_process"), &killed)?,
            allowed: program(architecture, &json!({ "errno": list.default_errno }), &json!("allow"), &allowed)?,
        })
    }

    /// From here on every thread of this process is under it. The one that allows comes last, since it does not allow
    /// to load another.
    pub(super) fn load(&self) -> Result<(), FilterError> {
        if Defence::ServerFilter.stands() {
            for program in [&self.killed, &self.allowed] {
                apply_filter_all_threads(program).map_err(FilterError::Load)?;
            }
        }
        Ok(())
    }
}

impl Allowed {
    /// One rule for each alternative: any of them allows the call.
    fn rules(&self) -> Vec<Value> {
        if self.when.is_empty() {
            return vec![json!({ "syscall": self.name })];
        }
        let arguments = |when: &When| when.all.iter().map(Condition::compare).collect::<Vec<_>>();
        self.when.iter().map(|when| json!({ "syscall": self.name, "args": arguments(when) })).collect()
    }
}

impl Condition {
    fn compare(&self) -> Value {
        let masked = json!({ "masked_eq": self.mask });
        json!({ "index": self.argument, "type": "qword", "op": masked, "val": self.equals })
    }
}

/// One program that answers `otherwise` to all but the calls of `rules`. It kills for those of another architecture.
fn program(
    architecture: TargetArch,
    otherwise: &Value,
    action: &Value,
    rules: &[Value],
) -> Result<BpfProgram, FilterError> {
    let source = json!({ "filter": { "mismatch_action": otherwise, "match_action": action, "filter": rules } });
    let programs =
        compile_from_json(source.to_string().as_bytes(), architecture).map_err(FilterError::Compile)?.into_values();
    programs.into_iter().next().ok_or(FilterError::Nothing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};
    use std::thread;

    use rustix::process::{Signal, getppid, kill_process};

    use super::*;

    /// Names what the test does that runs in a process of its own.
    const DEED: &str = "DORMOUSE_TEST_DEED";
    const ENOSYS: i32 = 38;
    const SIGSYS: i32 = 31;

    /// Names of calls are looked up when a filter is compiled; one that an architecture lacks is an error there.
    #[test]
    fn every_architecture_has_the_calls_of_its_list() {
        for architecture in ["x86_64", "aarch64"] {
            let ServerFilter { killed, allowed } = ServerFilter::compile_for(architecture).unwrap();
            assert!(killed.len() > 10 && allowed.len() > 20, "{architecture}");
        }
        assert!(matches!(ServerFilter::compile_for("mips"), Err(FilterError::Compile(_))));
    }

    #[test]
    fn under_the_filter_nothing_is_opened_made_signalled_or_executed() {
        let missing = (Some(ENOSYS), None);
        let killed = (None, Some(SIGSYS));
        for (deed, end) in [
            ("none", (Some(0), None)),
            ("open", missing),
            ("duplicate", missing),
            ("pair", missing),
            ("thread", missing),
            ("filter", missing),
            ("signal", killed),
            ("execute", killed),
        ] {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "template::filter::tests::under_the_filter"])
                .env(DEED, deed)
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!((status.code(), status.signal()), end, "{deed}");
        }
    }

    #[test]
    #[ignore = "a part of another test, in a process of its own: the filter stays"]
    fn under_the_filter() {
        let deed = std::env::var(DEED).unwrap();
        let filter = ServerFilter::compile().unwrap();
        let parent = getppid().unwrap();
        filter.load().unwrap();
        let done: io::Result<()> = match deed.as_str() {
            "none" => Ok(()),
            "open" => File::open("/dev/null").map(drop),
            "duplicate" => io::stdin().as_fd().try_clone_to_owned().map(drop),
            "pair" => UnixStream::pair().map(drop),
            "thread" => thread::Builder::new().spawn(|| {}).map(drop),
            "filter" => match filter.load() {
                Err(FilterError::Load(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))) => {
                    Err(error)
                }
                other => panic!("{other:?}"),
            },
            "signal" => kill_process(parent, Signal::CONT).map_err(io::Error::from),
            "execute" => Err(Command::new("/bin/true").exec()),
            other => panic!("{other}"),
        };
        std::process::exit(done.map_or_else(|error| error.raw_os_error().unwrap(), |()| 0));
    }
}
