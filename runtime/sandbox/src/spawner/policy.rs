//! The ceilings of what the node may ask for. The node keeps to them by itself: its ledger grants no
//! memory beyond the budget. Here they hold for a node that does not.

use std::{
    fmt,
    path::{Component, Path},
};

use dormouse_spec::{Bytes, MilliCpu, VOLUME_MOUNTS_MAX};

use crate::{
    channel::MESSAGE_BYTES_MAX,
    commands::COMMANDS_MAX,
    defence::Defence,
    messages::{ImagePayload, LAYERS_MAX, PROCESS_BYTES_MAX, Payload, ReplicaSpec, VolumeSource},
};

/// What replicas may be made with, as the composition root derives it from the configuration.
///
/// Memory is counted for all replicas that exist, dying ones too, as the node's ledger counts it.
/// Processors are shared and not reserved, so theirs is a ceiling for each replica alone, and so is
/// that of processes: each of them costs kernel memory, which is charged to its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaPolicy {
    /// The declared limits of all replicas together.
    pub memory: Bytes,
    /// All processors of the node.
    pub cpu: MilliCpu,
    /// Processes and threads of one replica.
    pub pids: u32,
    /// Requests at a time in one replica.
    pub concurrency: u32,
    /// The largest body of a request.
    pub body_bytes_max: u64,
    /// What one layer of an image may unpack to.
    pub layer_bytes_max: u64,
}

/// Each is a device of the machine's.
const DISKS_MAX: usize = 8;
/// As of Linux.
const PATH_BYTES_MAX: usize = 4_095;
/// Of `user:group`.
const USER_BYTES_MAX: usize = 256;

/// Why the policy does not allow a replica.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("{what} of {asked} is over this node's ceiling of {most}")]
    Over { what: &'static str, asked: String, most: String },
    #[error("{asked} of memory beside the {held} that other replicas hold is over this node's budget of {budget}")]
    Memory { asked: Bytes, held: Bytes, budget: Bytes },
    #[error("{0}")]
    Image(&'static str),
}

impl ReplicaPolicy {
    /// `held` is what the replicas that exist were granted.
    pub(crate) fn admit(&self, spec: &ReplicaSpec, held: Bytes) -> Result<(), PolicyError> {
        let limits = &spec.limits;
        if limits.memory.saturating_add(held) > self.memory {
            return Err(PolicyError::Memory { asked: limits.memory, held, budget: self.memory });
        }
        within("cpu", limits.cpu, self.cpu)?;
        within("pids", limits.pids, self.pids)?;
        // Its pages count as memory of the replica.
        within("a /tmp", limits.tmp, limits.memory)?;
        within("a concurrency", spec.concurrency, self.concurrency)?;
        match &spec.payload {
            Payload::Model(payload) => {
                within("intra-op threads", payload.intra_op_threads, limits.pids)?;
                within("a largest body", Bytes::new(payload.body_bytes_max), Bytes::new(self.body_bytes_max))
            }
            Payload::Image(payload) => {
                admit_image(payload)?;
                let in_memory = payload.volumes.iter().filter_map(|volume| match volume.source {
                    VolumeSource::Memory { bytes } => Some(bytes),
                    _ => None,
                });
                // Their pages count as memory of the replica too.
                in_memory.into_iter().try_for_each(|bytes| within("a volume in memory", bytes, limits.memory))
            }
        }
    }

    /// Whether a layer may unpack to so many bytes.
    pub(crate) fn admit_layer(&self, bytes_max: u64) -> Result<(), PolicyError> {
        within("a largest layer", Bytes::new(bytes_max), Bytes::new(self.layer_bytes_max))
    }
}

/// What the kernel, libcontainer or a page of a mount's options would refuse later, and less clearly.
fn admit_image(payload: &ImagePayload) -> Result<(), PolicyError> {
    let refused = |is_wrong, why| if is_wrong { Err(PolicyError::Image(why)) } else { Ok(()) };
    refused(payload.layers.is_empty(), "an image has a layer")?;
    within("a number of layers", payload.layers.len(), LAYERS_MAX)?;
    within("a number of volumes", payload.volumes.len(), VOLUME_MOUNTS_MAX)?;
    let disks = payload.volumes.iter().filter(|volume| matches!(volume.source, VolumeSource::Disk { .. }));
    within("a number of volumes on disk", disks.count(), DISKS_MAX)?;
    refused(payload.args.first().is_none_or(String::is_empty), "an image's process has a program")?;
    let variables = payload.env.iter().flat_map(|variable| [variable.name(), variable.value()]);
    within("a number of commands", payload.commands.len(), COMMANDS_MAX)?;
    let has_program = |command: &Vec<String>| command.first().is_some_and(|program| !program.is_empty());
    refused(!payload.commands.iter().all(has_program), "a command has a program")?;
    let words = payload.args.iter().chain(payload.commands.iter().flatten()).map(String::as_str);
    let texts = || words.clone().chain(variables.clone());
    within("arguments, environment and commands in bytes", texts().map(str::len).sum::<usize>(), PROCESS_BYTES_MAX)?;
    let others = [payload.working_dir.as_str(), payload.user.of_image.as_str()];
    refused(texts().chain(others).any(|text| text.contains('\0')), "what an image's process is given holds no NUL")?;
    refused(!payload.working_dir.starts_with('/'), "an image's working directory is absolute")?;
    let climbs = Path::new(&payload.working_dir).components().any(|part| part == Component::ParentDir);
    refused(climbs && Defence::WorkingDirectoryStays.stands(), "an image's working directory has no `..`")?;
    within("a working directory in bytes", payload.working_dir.len(), PATH_BYTES_MAX)?;
    within("a user in bytes", payload.user.of_image.len(), USER_BYTES_MAX)?;
    // A node that is started again has to be told of it, in one message.
    let told = serde_json::to_vec(payload).map_or(usize::MAX, |told| told.len());
    within("an image's process as it is passed on in bytes", told, MESSAGE_BYTES_MAX - (2 << 10))
}

fn within<T: Copy + PartialOrd + fmt::Display>(what: &'static str, asked: T, most: T) -> Result<(), PolicyError> {
    if asked <= most {
        return Ok(());
    }
    Err(PolicyError::Over { what, asked: asked.to_string(), most: most.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Digest, EnvVar, Limits, StopSignal};

    use super::*;
    use crate::messages::{ImageUser, ModelPayload, Payload, ReplicaId, Work};

    const POLICY: ReplicaPolicy = ReplicaPolicy {
        memory: Bytes::from_mebibytes(100),
        cpu: MilliCpu::from_milli(2_000),
        pids: 100,
        concurrency: 10,
        body_bytes_max: 1_000,
        layer_bytes_max: 1_000,
    };

    /// Everything at its ceiling.
    fn greatest() -> ReplicaSpec {
        let (memory, cpu, pids) = (POLICY.memory, POLICY.cpu, POLICY.pids);
        ReplicaSpec {
            replica: ReplicaId::new(&"a".parse().unwrap(), 1, 1),
            payload: Payload::Model(ModelPayload {
                model: Digest::from_sha256([0; 32]),
                work: Work::Prepare {},
                intra_op_threads: pids,
                body_bytes_max: POLICY.body_bytes_max,
            }),
            limits: Limits { cpu, memory, pids, tmp: memory },
            concurrency: POLICY.concurrency,
        }
    }

    #[test]
    fn each_ceiling_holds_and_is_named() {
        assert_eq!(POLICY.admit(&greatest(), Bytes::default()), Ok(()));
        type Raise = fn(&mut ReplicaSpec);
        let more: [(&str, Raise); 8] = [
            ("memory", |spec| spec.limits.memory = Bytes::new(POLICY.memory.get() + 1)),
            ("memory", |spec| spec.limits.memory = Bytes::new(u64::MAX)),
            ("cpu", |spec| spec.limits.cpu = MilliCpu::from_milli(2_001)),
            ("pids", |spec| spec.limits.pids = u32::MAX),
            ("/tmp", |spec| spec.limits.tmp = Bytes::new(u64::MAX)),
            ("threads", |spec| spec.payload.model_mut().unwrap().intra_op_threads += 1),
            ("concurrency", |spec| spec.concurrency += 1),
            ("body", |spec| spec.payload.model_mut().unwrap().body_bytes_max += 1),
        ];
        for (what, raise) in more {
            let mut spec = greatest();
            raise(&mut spec);
            let error = POLICY.admit(&spec, Bytes::default()).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    /// Everything at its ceiling.
    fn greatest_image() -> ReplicaSpec {
        let payload = ImagePayload {
            layers: vec![Digest::from_sha256([0; 32]); LAYERS_MAX],
            args: vec!["a".repeat(PROCESS_BYTES_MAX - 10 - COMMANDS_MAX), String::new()],
            env: vec![EnvVar::new("NAME".to_owned(), "value!".to_owned()).unwrap()],
            working_dir: format!("/{}", "a".repeat(PATH_BYTES_MAX - 1)),
            user: ImageUser { of_image: "a".repeat(USER_BYTES_MAX), uid: None, gid: None },
            stop_signal: StopSignal::TERM,
            read_only_root: false,
            volumes: Vec::new(),
            network: dormouse_spec::Network::None,
            commands: vec![vec!["a".to_owned()]; COMMANDS_MAX],
        };
        ReplicaSpec { payload: Payload::Image(Box::new(payload)), ..greatest() }
    }

    #[test]
    fn what_an_images_process_is_given_has_an_end() {
        assert_eq!(POLICY.admit(&greatest_image(), Bytes::default()), Ok(()));
        type Change = fn(&mut ImagePayload);
        let wrong: [(&str, Change); 14] = [
            ("layer", |payload| payload.layers.clear()),
            ("layers", |payload| payload.layers.push(Digest::from_sha256([1; 32]))),
            ("program", |payload| payload.args.clear()),
            ("program", |payload| payload.args[0].clear()),
            ("arguments", |payload| payload.args.push("a".to_owned())),
            ("commands", |payload| payload.commands.push(vec!["a".to_owned()])),
            ("program", |payload| payload.commands[0].clear()),
            ("arguments", |payload| payload.commands[0].push("a".to_owned())),
            ("NUL", |payload| payload.args[0].replace_range(0..1, "\0")),
            ("NUL", |payload| payload.user.of_image = "\0".to_owned()),
            ("absolute", |payload| payload.working_dir = "a".to_owned()),
            ("`..`", |payload| payload.working_dir = "/a/../b".to_owned()),
            ("directory", |payload| payload.working_dir.push('a')),
            ("user", |payload| payload.user.of_image.push('a')),
        ];
        for (what, change) in wrong {
            let mut spec = greatest_image();
            let Payload::Image(payload) = &mut spec.payload else { panic!("it is an image") };
            change(payload);
            let error = POLICY.admit(&spec, Bytes::default()).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
        // Whatever is in it, it is one message.
        let bytes = serde_json::to_vec(&crate::messages::Request::Create(Box::new(greatest_image()))).unwrap();
        assert!(bytes.len() <= crate::channel::MESSAGE_BYTES_MAX, "{}", bytes.len());
    }

    #[test]
    fn memory_is_counted_for_all_replicas_together() {
        let mut spec = greatest();
        (spec.limits.memory, spec.limits.tmp) = (Bytes::from_mebibytes(40), Bytes::from_mebibytes(1));
        assert_eq!(POLICY.admit(&spec, Bytes::from_mebibytes(60)), Ok(()));
        for held in [Bytes::new((60 << 20) + 1), Bytes::new(u64::MAX)] {
            assert!(matches!(POLICY.admit(&spec, held), Err(PolicyError::Memory { .. })));
        }
    }
}
