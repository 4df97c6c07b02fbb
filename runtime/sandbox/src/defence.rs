//! The defences of the sandbox by name, and the one way to take one of them away.
//!
//! In the product every defence stands: [`Defence::stands`] is a constant, and nothing that would
//! weaken one is compiled. The attack suite compiles this crate a second time, as a package of its
//! own with `--cfg weakened`, to show of each attack that it succeeds where its defence is missing:
//! a test that cannot fail proves nothing.

#[cfg(weakened)]
pub(crate) mod weakened;

/// One line of defence against one class of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(weakened),
    expect(dead_code, reason = "what is taken out of a finished configuration is asked for there only")
)]
pub(crate) enum Defence {
    /// Containers run a copy of the program on a tmpfs that is read-only.
    PrivateProgram,
    /// A container inherits its channel and its log, and nothing else that was open.
    ClosedDescriptors,
    /// What is mounted is opened first, beneath the store, following no link.
    MountsByDescriptor,
    /// What root opens for a worker is a file beneath its store, by no link, and the node's own.
    FilesAreTheStores,
    /// Files of /proc that tell about the machine or reach into it are covered.
    MaskedPaths,
    /// No file of /proc can be written to.
    ReadOnlyProc,
    /// The payload is started only where /proc is the kernel's own and tells that all is in force.
    RealProc,
    /// All five sets of capabilities are empty.
    NoCapabilities,
    /// Ids that become names of files and groups are parsed, and hold no separator.
    TypedNames,
    /// No container sees /sys, or a control group but its own.
    NoHostSysfs,
    /// Nobody can ask for a kernel parameter.
    NoSysctls,
    /// A process of an image sees no network but its own.
    OwnNetwork,
    /// A working directory that climbs is refused.
    WorkingDirectoryStays,
    /// What is made in a volume is looked up within it.
    VolumesLookedUpWithin,
    /// What a replica may reach outside is not the node.
    NodeOutOfReach,
    /// No process of a container can look into what runs commands in it.
    RunnerOutOfReach,
    /// Only the calls that a worker needs reach the kernel.
    SystemCallFilter,
    /// The kernel opens no device that a worker does not need.
    DevicePolicy,
    /// Processes and threads of a replica have a limit.
    ProcessLimit,
    /// Memory of a replica has a limit.
    MemoryLimit,
    /// Processor time of a replica has a limit.
    CpuLimit,
    /// Descriptors of a replica have a limit.
    DescriptorLimit,
    /// /tmp of a replica has a limit.
    TmpLimit,
    /// An entry of a layer whose name climbs is refused.
    NamesStay,
    /// What a name leads through is looked up within the layer's tree.
    ParentsInRoot,
    /// The unpacker's root is the layer's tree.
    UnpackRoot,
    /// The unpacker is root of images' ids only, with the rights to change files and no others.
    UnpackIdsMapped,
    /// Device nodes of a layer are left out.
    DevicesLeftOut,
    /// An id that no image has is refused.
    IdsInRange,
    /// Of a layer's extended attributes few are taken.
    AttributesChosen,
    /// What a layer unpacks to has a limit.
    UnpackBytesLimit,
    /// A layer is kept where its bytes are those that were asked for.
    DigestsChecked,
}

impl Defence {
    /// Whether the defence is there. In the product all are.
    #[cfg(not(weakened))]
    #[inline(always)]
    pub(crate) const fn stands(self) -> bool {
        true
    }

    /// The suite names what is missing in the daemon's environment.
    #[cfg(weakened)]
    pub(crate) fn stands(self) -> bool {
        !weakened::is_missing(&format!("{self:?}"))
    }
}
