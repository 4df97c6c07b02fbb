//! The beginning of a sandbox with a container of its own.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    rc::Rc,
    time::Instant,
};

use dormouse_spec::{Digest, Limits};
use libcontainer::oci_spec::runtime::LinuxSeccomp;

use super::{Conversation, Helper, ImageProcess, Kind, Life, Sandbox};
use crate::{
    cgroup::{CgroupError, InstanceGroup, ReplicaGroup},
    channel::{self, ChannelError},
    creation::{Contents, Creation, ImageContents, VolumeStores, WorkerContents},
    error_chain,
    instance::Instance,
    messages::ImagePayload,
    rootfs::Rootfs,
    seccomp::Profiles,
    spawner::{child::fork_child, listeners::ListenError},
    uids::{ImageIds, RangeLease},
};

/// Why a sandbox could not be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("making the control channel failed")]
    Channel(#[from] ChannelError),
    #[error("{operation} failed")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What all creations share.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) groups: &'a InstanceGroup,
    pub(crate) store: &'a Path,
    pub(crate) prepared: &'a Path,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) seccomp: &'a Profiles,
    pub(crate) node_gid: u32,
    pub(crate) setup_uid: u32,
    /// Unpacked layers of images, and as whose files they are.
    pub(crate) layers: &'a Path,
    pub(crate) image_ids: ImageIds,
    pub(crate) volumes: VolumeStores<'a>,
}

/// What one worker's container is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// Of its control group, and in its creation's errors.
    pub(crate) name: &'a str,
    /// The host's uid of its payload.
    pub(crate) uid: u32,
    pub(crate) limits: Limits,
    /// The model that is mounted in it; a blank has none yet.
    pub(crate) model: Option<&'a Digest>,
    /// Whether its worker is a template, which may fork.
    pub(crate) is_template: bool,
}

/// And a container of a process of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImagePlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) hostname: &'a str,
    pub(crate) limits: Limits,
    pub(crate) payload: &'a ImagePayload,
    /// As whom that runs which joins it to other networks, where something does.
    pub(crate) helper_uid: Option<u32>,
}

/// What is asked for whatever runs in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) name: &'a str,
    /// The host's uid of its payload, or of the root of its container.
    pub(super) uid: u32,
    pub(super) limits: Limits,
}

impl<'a> Plan<'a> {
    fn common(&self) -> Common<'a> {
        Common { name: self.name, uid: self.uid, limits: self.limits }
    }
}

impl Sandbox {
    /// Makes what the spawner keeps of a sandbox and forks the child that makes the container. What
    /// `tell` writes to the worker's channel waits there until the worker reads it. Where anything
    /// fails, the group is gone too.
    pub(crate) fn begin(
        workshop: &Workshop<'_>,
        plan: Plan<'_>,
        tell: impl FnOnce(BorrowedFd<'_>) -> Result<(), ChannelError>,
    ) -> Result<Self, BeginError> {
        let kind =
            if plan.is_template { Kind::Template { next: None, discarded: BTreeSet::new() } } else { Kind::Worker };
        let group = workshop.groups.create(plan.name, &plan.limits)?;
        Self::of(kind, &plan.common(), group, |group| {
            let (control, workers) = control_channel()?;
            tell(control.as_fd())?;
            let contents = Contents::Worker(WorkerContents {
                store: workshop.store,
                model: plan.model,
                setup_uid: workshop.setup_uid,
                uid: plan.uid,
                control: workers,
            });
            let seccomp = if plan.is_template { &workshop.seccomp.template } else { &workshop.seccomp.worker };
            let (life, log) = fork_creation(workshop, &plan.common(), group, seccomp, contents)?;
            Ok(Begun { life, conversation: Some(Conversation::with(control)), log })
        })
    }

    /// The same for a process of an image, of which nothing is heard but its log.
    pub(crate) fn begin_image(
        workshop: &Workshop<'_>,
        plan: &ImagePlan<'_>,
        range: &Rc<RangeLease>,
    ) -> Result<Self, BeginError> {
        let ImagePlan { name, hostname, limits, payload, helper_uid } = *plan;
        let common = Common { name, uid: range.base(), limits };
        let stop_signal = payload.stop_signal;
        let lent = range.as_ref();
        let orders = if payload.commands.is_empty() { None } else { Some(channel::pair()?) };
        let (orders, runners) = orders.unzip();
        if let Some(orders) = &orders {
            channel::refuse_descriptors(orders);
        }
        let range = Rc::clone(range);
        let kind = Kind::Image(ImageProcess { stop_signal, network: None, orders, helper: Helper::None, range });
        let group = workshop.groups.create(name, &limits)?;
        Self::of(kind, &common, group, |group| {
            let Workshop { layers, image_ids: ids, volumes, .. } = *workshop;
            let image =
                ImageContents { payload, hostname, layers, ids, range: lent, volumes, helper_uid, orders: runners };
            let contents = Contents::Image(image);
            let (life, log) = fork_creation(workshop, &common, group, &workshop.seccomp.image, contents)?;
            Ok(Begun { life, conversation: None, log })
        })
    }

    /// What `begin` began in `group`, whose entrance is closed then; where it fails, the group is gone too.
    pub(super) fn of(
        kind: Kind,
        plan: &Common<'_>,
        mut group: ReplicaGroup,
        begin: impl FnOnce(&ReplicaGroup) -> Result<Begun, BeginError>,
    ) -> Result<Self, BeginError> {
        let Begun { life, conversation, log } = begin(&group).inspect_err(|_| {
            if let Err(error) = group.remove() {
                let reason = error_chain::one_line(&error);
                tracing::error!("a control group is left for the next start to remove: {reason}");
            }
        })?;
        group.close_entrance();
        Ok(Self {
            name: plan.name.to_owned(),
            kind,
            uid: plan.uid,
            limits: plan.limits,
            group,
            life,
            conversation,
            log,
            frozen: false,
            freezing_until: None,
            memory_looked_at_until: None,
            stop_asked: false,
            kill_at: None,
            removals: 0,
        })
    }
}

/// What differs between the ways to begin.
pub(super) struct Begun {
    pub(super) life: Life,
    pub(super) conversation: Option<Conversation>,
    /// The reading end.
    pub(super) log: OwnedFd,
}

/// The spawner's end of a new control channel, and the worker's.
pub(super) fn control_channel() -> Result<(OwnedFd, OwnedFd), BeginError> {
    let (control, workers) = channel::pair()?;
    channel::refuse_descriptors(&control);
    // The worker has nothing else to do than to wait for what it is told.
    rustix::io::ioctl_fionbio(&workers, false)
        .map_err(|error| BeginError::Io { operation: "preparing the control channel", source: error.into() })?;
    Ok((control, workers))
}

/// The reading end of a new log, and the writing one.
pub(super) fn log_pipe() -> Result<(OwnedFd, OwnedFd), BeginError> {
    let (log, writer) =
        std::io::pipe().map_err(|source| BeginError::Io { operation: "making the log pipe", source })?;
    Ok((log.into(), writer.into()))
}

fn fork_creation(
    workshop: &Workshop<'_>,
    plan: &Common<'_>,
    group: &ReplicaGroup,
    seccomp: &LinuxSeccomp,
    contents: Contents<'_>,
) -> Result<(Life, OwnedFd), BeginError> {
    let requested = Instant::now();
    let io = |operation| move |source| BeginError::Io { operation, source };
    let (log, log_writer) = log_pipe()?;
    let (report, report_writer) = std::io::pipe().map_err(io("making the report pipe"))?;
    let creation = Creation {
        name: plan.name,
        rootfs: workshop.rootfs,
        group,
        tmp_bytes: plan.limits.tmp.get(),
        seccomp,
        log: log_writer,
        report: report_writer.into(),
        requested,
    };
    let channel = match &contents {
        Contents::Worker(worker) => Some(&worker.control),
        Contents::Image(image) => image.orders.as_ref(),
    };
    let own = [&creation.log, &creation.report].into_iter().chain(channel).map(AsRawFd::as_raw_fd);
    let keep: Vec<_> = group.entrances().map(|fd| fd.as_raw_fd()).chain(own).collect();
    let child = fork_child(&keep, || {
        creation.run(contents);
        0
    })
    .map_err(io("forking the creation child"))?;
    let report = OwnedFd::from(report);
    rustix::io::ioctl_fionbio(&report, true).map_err(|error| io("preparing the report pipe")(error.into()))?;
    Ok((Life::Creating { child, report: report.into() }, log))
}
