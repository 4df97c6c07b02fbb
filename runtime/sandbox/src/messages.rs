//! Everything that can be asked of the privileged half, and everything it tells.
//!
//! A request names a replica, an endpoint, a content digest and numbers: never a mount, a capability, a device or an
//! OCI setting. The spawner derives all of those itself. The one host path that it may name is of a directory which the
//! daemon's own configuration lends to replicas.

mod image;
mod origin;

use std::fmt;

use dormouse_spec::{Digest, EndpointName, Limits};
use serde::{Deserialize, Serialize};

pub use image::{
    ImageIdsMode, ImagePayload, ImageUser, ImageVolume, LAYERS_MAX, PROCESS_BYTES_MAX, SocketKind, VOLUME_BYTES_MAX,
    VolumeSource,
};
pub use origin::{Claim, CreatePhases, Fork, Origin, Premade};

/// Both halves are one binary; a difference means that one was upgraded under the other.
pub const PROTOCOL_VERSION: u32 = 9;

/// Names one replica for its whole life; never used twice by one daemon: `silero-vad-1-17`.
///
/// It is an endpoint's name, its revision and a serial number, and is read back into those. So a
/// message that names a replica says whose it is, and there is no second field to contradict it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicaId {
    text: String,
    endpoint: EndpointName,
    revision: u32,
}

/// Why a text names no replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a replica id: an endpoint's name, its revision and a serial number, joined by `-`")]
pub struct ReplicaIdError(String);

impl ReplicaId {
    #[must_use]
    pub fn new(endpoint: &EndpointName, revision: u32, serial: u64) -> Self {
        Self { text: format!("{endpoint}-{revision}-{serial}"), endpoint: endpoint.clone(), revision }
    }

    /// Whose replica it is.
    #[must_use]
    pub fn endpoint(&self) -> &EndpointName {
        &self.endpoint
    }

    /// Of which revision of the endpoint.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revision
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for ReplicaId {
    type Error = ReplicaIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts = || {
            let (rest, serial) = text.rsplit_once('-')?;
            let (endpoint, revision) = rest.rsplit_once('-')?;
            Some(Self::new(&endpoint.parse().ok()?, revision.parse().ok()?, serial.parse().ok()?))
        };
        #[cfg(weakened)]
        if let (false, Ok(endpoint)) = (crate::defence::Defence::TypedNames.stands(), "hostile".parse()) {
            return Ok(Self { text, endpoint, revision: 1 });
        }
        // Numbers have more than one spelling, an id has one.
        match parts().filter(|id| id.text == text) {
            Some(id) => Ok(id),
            None => Err(ReplicaIdError(text)),
        }
    }
}

impl From<ReplicaId> for String {
    fn from(id: ReplicaId) -> Self {
        id.text
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Node → spawner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The first message; anything else before it ends the node process.
    Hello { version: u32 },
    /// Start a replica. Answered by [`Event::Created`] or [`Event::Exited`].
    Create(Box<ReplicaSpec>),
    /// Stop all its processes where they are. Answered by [`Event::Frozen`] or [`Event::Thawed`].
    Freeze { replica: ReplicaId },
    /// Let them go on. A connection made meanwhile is answered afterwards, so the node need not
    /// wait. Answered by [`Event::Thawed`].
    Thaw { replica: ReplicaId },
    /// SIGTERM, or what its image asks for in its place, after a thaw; and SIGKILL once `grace_ms` have
    /// passed; 0 is SIGKILL at once. The first process of a pid namespace sees no signal that it has no
    /// handler for: one of an image may so be ended by the second alone.
    /// Answered by [`Event::Exited`] and [`Event::Removed`].
    Stop { replica: ReplicaId, grace_ms: u32 },
    /// A way into a replica that is a process of an image. Answered by [`Event::Socket`] or [`Event::NoSocket`].
    Socket { replica: ReplicaId, kind: SocketKind },
    /// The endpoint is deleted: its host uid may be given to another once its last replica is gone.
    Forget { endpoint: EndpointName },
    /// Unpack a blob of the node's store as a layer, under the digest of its contents. One that is
    /// unpacked already is told at once. Answered by [`Event::LayerUnpacked`] or [`Event::LayerFailed`].
    UnpackLayer {
        /// Names the blob, and what its bytes must hash to.
        blob: Digest,
        /// Names the layer: what the bytes must hash to once they are decompressed.
        diff_id: Digest,
        compression: Compression,
        /// What the archive may hold at most once it is decompressed, in bytes.
        bytes_max: u64,
    },
    /// Remove an unpacked layer. Answered by [`Event::LayerRemoved`] or [`Event::LayerFailed`]; one that
    /// is not there is removed.
    RemoveLayer { diff_id: Digest },
    /// Every lease is returned and nothing more will be asked: the daemon may end. Only an answer to
    /// [`Event::Drain`]; a node cannot end the daemon by it.
    Drained,
}

/// What a replica is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaSpec {
    /// Names its endpoint too, whose host uid it runs as.
    pub replica: ReplicaId,
    pub payload: Payload,
    pub limits: Limits,
    /// Requests it is sent at a time.
    pub concurrency: u32,
    /// What the control of one attack asks for.
    #[cfg(all(weakened, not(test)))]
    #[serde(default, skip_serializing_if = "std::collections::HashMap::is_empty")]
    pub sysctl: std::collections::HashMap<String, String>,
}

/// What runs in a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    Model(ModelPayload),
    Image(Box<ImagePayload>),
}

/// The built-in worker with one model. It serves on a Unix socket that is handed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPayload {
    /// Names a directory of the model store with `model.onnx` in it.
    pub model: Digest,
    pub work: Work,
    pub intra_op_threads: u32,
    /// The largest body the worker accepts, inflated.
    pub body_bytes_max: u64,
}

impl ReplicaSpec {
    /// What it does with its model, if it has one.
    #[must_use]
    pub fn work(&self) -> Option<&Work> {
        self.payload.model().map(|payload| &payload.work)
    }

    /// The same with other work, where it has a model.
    #[must_use]
    pub fn with_work(mut self, other: Work) -> Self {
        if let Payload::Model(payload) = &mut self.payload {
            payload.work = other;
        }
        self
    }
}

impl Payload {
    #[must_use]
    pub fn model(&self) -> Option<&ModelPayload> {
        match self {
            Self::Model(payload) => Some(payload),
            Self::Image(_) => None,
        }
    }

    /// The same, to change it.
    pub fn model_mut(&mut self) -> Option<&mut ModelPayload> {
        match self {
            Self::Model(payload) => Some(payload),
            Self::Image(_) => None,
        }
    }

    #[must_use]
    pub fn image(&self) -> Option<&ImagePayload> {
        match self {
            Self::Image(payload) => Some(payload),
            Self::Model(_) => None,
        }
    }
}

/// What a replica does with its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Work {
    /// Answers inference requests.
    Serve {
        /// Names a directory of the store of prepared models with `model.ort` in it. Where there is
        /// none, or it cannot be used, the model itself serves.
        prepared: Option<Digest>,
    },
    /// Loads it, on one thread, and reads no request: replicas are forked from it.
    Template {
        /// As of [`Work::Serve`]; a model that could not be prepared has no template.
        prepared: Digest,
    },
    /// Answers inference requests with the session that its template loaded.
    Fork {
        /// A replica of the same endpoint and revision that is ready, and differs from this one in
        /// nothing else.
        template: ReplicaId,
    },
    /// Optimises it, once, and hands the result to who asks for it.
    Prepare {},
}

/// How the blob of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What of a layer is not in its tree, without that being an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Device nodes: which devices a container has is not for its image to say.
    pub devices: u64,
    /// Extended attributes other than file capabilities and `user.*`.
    pub attributes: u64,
    /// Entries that are another storage driver's notes to itself.
    pub notes: u64,
    /// The first few of them, with what they are; the names are the image's, made printable.
    pub named: Vec<String>,
}

/// Spawner → node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// Answers [`Request::Hello`]. Comes with one descriptor for each of the `listeners`, in order.
    /// After it come one [`Event::Adopt`] for each replica that lives, and [`Event::Synced`].
    Welcome {
        version: u32,
        instance: String,
        /// The daemon's configuration, as the composition root wrote it; opaque to the spawner.
        settings: String,
        listeners: Vec<Listener>,
        image_ids: ImageIdsMode,
    },
    /// A replica that was there before this node process. Comes with its log pipe's reading end.
    Adopt(Box<ReplicaReport>),
    /// The last replica to adopt was told.
    Synced,
    /// The container exists and its worker is loading. Comes with the log pipe's reading end.
    Created {
        replica: ReplicaId,
        started_at_ms: u64,
        origin: Origin,
    },
    /// Comes with the socket that was asked for.
    Socket {
        replica: ReplicaId,
        kind: SocketKind,
    },
    /// There is none, as for a replica that is not there.
    NoSocket {
        replica: ReplicaId,
        kind: SocketKind,
        reason: String,
    },
    /// The worker said that it serves, and where the time of its loading went.
    Ready {
        replica: ReplicaId,
        load: LoadPhases,
    },
    /// The worker said why it cannot serve its model, and will exit.
    LoadFailed {
        replica: ReplicaId,
        reason: String,
    },
    Frozen {
        replica: ReplicaId,
    },
    /// The replica runs. `cause` says why where that was not asked for: a freeze that did not end.
    Thawed {
        replica: ReplicaId,
        cause: Option<String>,
    },
    /// No process of the replica is left. Every connection to it is dead.
    Exited {
        replica: ReplicaId,
        cause: ExitCause,
    },
    /// Nothing of the replica is left: no cgroup, mount, socket or directory.
    Removed {
        replica: ReplicaId,
    },
    /// The request could not be carried out, as for a replica that is not there.
    Refused {
        replica: Option<ReplicaId>,
        reason: String,
    },
    /// The layer is on the disk, whole, and both digests of its blob are what they were to be.
    LayerUnpacked {
        diff_id: Digest,
        /// Of the archive, decompressed.
        bytes: u64,
        entries: u64,
        left_out: LeftOut,
    },
    /// Nothing of it was kept; or it was not removed.
    LayerFailed {
        diff_id: Digest,
        reason: String,
    },
    LayerRemoved {
        diff_id: Digest,
    },
    /// So many blanks wait to be claimed now.
    Blanks {
        ready: u32,
    },
    /// The spawner's loop was busy for longer than ever before in one turn, and for over 1 ms: what
    /// was asked meanwhile waited. A node that starts is told the longest turn so far.
    SlowTurn {
        micros: u64,
    },
    /// The daemon was told to end: take no more work, finish what runs, answer with
    /// [`Request::Drained`].
    Drain,
}

/// What a listening socket in [`Event::Welcome`] is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// Inference requests from clients, over TCP.
    Gateway,
    /// The admin API, over a Unix socket.
    Admin,
}

/// A replica as a restarted node finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaReport {
    pub spec: ReplicaSpec,
    pub state: ReplicaState,
    /// When it was created, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Its control group, where that was made before it was known for which replica.
    pub premade: Option<Premade>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// Being created, or its worker is loading.
    Starting,
    Ready,
    Frozen,
    /// Told to end, or dead and being removed.
    Stopping,
}

/// Where the time of a worker's loading went, in microseconds, as the worker says. It is untrusted: nothing
/// may depend on it but what is shown to people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPhases {
    /// From its first instruction until ONNX Runtime can be used.
    pub runtime_us: u64,
    /// Until the model's bytes are at hand.
    pub model_us: u64,
    /// Until a session can run them.
    pub session_us: u64,
}

impl LoadPhases {
    /// The longest verdict that is read, in bytes.
    const BYTES_MAX: usize = 128;
    /// An hour, which no start may take.
    const MICROS_MAX: u64 = 3_600_000_000;

    /// What a worker said after it said that it is ready; none where that is anything else.
    pub(crate) fn of_worker(said: &[u8]) -> Option<Self> {
        if said.len() > Self::BYTES_MAX {
            return None;
        }
        let phases: Self = serde_json::from_slice(said).ok()?;
        let Self { runtime_us, model_us, session_us } = phases;
        let is_possible = [runtime_us, model_us, session_us].iter().all(|micros| *micros <= Self::MICROS_MAX);
        // One spelling, as of every message.
        let is_spelt_so = serde_json::to_vec(&phases).is_ok_and(|spelt| spelt == said);
        (is_possible && is_spelt_so).then_some(phases)
    }
}

/// SIGSYS: what the system call filter kills with.
const FORBIDDEN_CALL: i32 = nix::libc::SIGSYS;

/// How a replica's life ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExitCause {
    /// The container could not be made.
    NotCreated {
        reason: String,
    },
    Code {
        code: i32,
    },
    Signal {
        signal: i32,
    },
    /// The kernel killed it for exceeding its memory limit.
    OutOfMemory {
        limit_bytes: u64,
    },
    /// It ended by itself after the kernel had refused it another process or thread.
    OutOfProcesses {
        limit: u32,
        ended: End,
    },
    /// It answered nothing any more, so the node had it killed. Told among the parts of the node only.
    Silent,
    /// The template that it was forked from ended, and it with it.
    TemplateEnded,
    /// The helper that it reached other machines by ended, and it with it.
    NetworkEnded,
    /// It was told to end, and did.
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    Code(i32),
    Signal(i32),
}

impl From<End> for ExitCause {
    fn from(end: End) -> Self {
        match end {
            End::Code(code) => Self::Code { code },
            End::Signal(signal) => Self::Signal { signal },
        }
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCreated { reason } => write!(f, "the container could not be created: {reason}"),
            Self::Code { code } => write!(f, "exited with status {code}"),
            Self::Signal { signal: FORBIDDEN_CALL } => {
                write!(f, "killed by signal {FORBIDDEN_CALL} (SIGSYS): it made a forbidden system call")
            }
            Self::Signal { signal } => write!(f, "crashed: killed by signal {signal}"),
            Self::OutOfMemory { limit_bytes } => {
                write!(f, "out of memory: exceeded its limit of {} MiB", limit_bytes >> 20)
            }
            Self::OutOfProcesses { limit, ended } => {
                let ended = Self::from(*ended);
                write!(f, "out of processes: reached its limit of {limit} processes and threads, then {ended}")
            }
            Self::Silent => f.write_str("it answered nothing any more and was killed"),
            Self::TemplateEnded => f.write_str("the template that it was forked from ended"),
            Self::NetworkEnded => f.write_str("the program that it reached other machines by ended"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_replica_id_is_an_endpoint_a_revision_and_a_serial() {
        for text in [
            "",
            "-",
            "node",
            "a",
            "a-1",
            "-1-1",
            "a--1",
            "a-1-",
            "a-1-x",
            "a-x-1",
            "a-01-1",
            "a-1-01",
            "a-+1-1",
            "a-1--1",
            "../x-1-1",
            "a/b-1-1",
            "a.b-1-1",
            "A-1-1",
            "a-1-1\0",
            "a-1-1\n",
            "a-4294967296-1",
            "a-1-18446744073709551616",
        ] {
            assert!(ReplicaId::try_from(text.to_owned()).is_err(), "{text}");
        }
        for endpoint in ["a", "a-1", "a-1-2", "0", &"a".repeat(63)] {
            let endpoint = endpoint.parse().unwrap();
            let id = ReplicaId::new(&endpoint, u32::MAX, u64::MAX);
            let read = ReplicaId::try_from(id.to_string()).unwrap();
            assert_eq!((read.endpoint(), read.revision(), &read), (&endpoint, u32::MAX, &id));
        }
    }

    #[test]
    fn a_forbidden_system_call_is_told_from_a_crash() {
        let told = ExitCause::Signal { signal: 31 }.to_string();
        assert!(told.contains("signal 31") && told.contains("forbidden system call"), "{told}");
        assert_eq!(ExitCause::Signal { signal: 11 }.to_string(), "crashed: killed by signal 11");
    }

    #[test]
    fn what_a_worker_says_of_its_loading_is_three_numbers_in_bounds_and_one_spelling() {
        let of = |said: &str| LoadPhases::of_worker(said.as_bytes());
        let said = r#"{"runtime_us":13000,"model_us":20,"session_us":3600000000}"#;
        assert_eq!(of(said), Some(LoadPhases { runtime_us: 13_000, model_us: 20, session_us: 3_600_000_000 }));
        for said in [
            "",
            "{}",
            r#"{"runtime_us":1,"model_us":2}"#,
            r#"{"runtime_us":1,"model_us":2,"session_us":3,"more":4}"#,
            r#"{"runtime_us":1,"model_us":2,"session_us":3,"session_us":3}"#,
            r#"{"runtime_us":1,"model_us":2,"session_us":-3}"#,
            r#"{"runtime_us":1,"model_us":2,"session_us":3.0}"#,
            r#"{"runtime_us":1,"model_us":2,"session_us":3600000001}"#,
            r#"{"runtime_us": 1,"model_us":2,"session_us":3}"#,
            r#"{"model_us":2,"runtime_us":1,"session_us":3}"#,
            &format!("{said}\n"),
            &format!("{said}{}", " ".repeat(200)),
        ] {
            assert_eq!(of(said), None, "{said}");
        }
    }

    #[test]
    fn an_unknown_request_or_field_is_refused() {
        for text in [
            r#"{"request":"mount","path":"/"}"#,
            r#"{"request":"thaw","replica":"a-1-1","path":"/"}"#,
            r#"{"request":"freeze","replica":"../a-1-1"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
        for text in [
            r#"{"kind":"serve","prepared":"../../etc"}"#,
            r#"{"kind":"serve","prepared":null,"path":"/"}"#,
            r#"{"kind":"prepare","into":"/"}"#,
            r#"{"kind":"run"}"#,
        ] {
            assert!(serde_json::from_str::<Work>(text).is_err(), "{text}");
        }
    }
}
