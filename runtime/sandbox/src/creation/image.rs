//! The container of a process of an image: its layers, a user of its own, a network with nothing but a loopback.

pub(crate) mod accounts;
mod furniture;
pub(crate) mod layers;
mod network;
mod root;
mod sys;
mod volumes;
mod working_directory;

use std::{
    fs::{self, File},
    io::{self, Read},
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use dormouse_spec::Network;
use libcontainer::oci_spec::{OciSpecError, runtime::Mount};
use nix::unistd::{Gid, Uid, fchown, setgroups};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

pub use self::volumes::LentPath;
pub(crate) use self::volumes::{VolumeError, VolumeStores};
use self::{
    accounts::{Accounts, GROUP, PASSWD, User},
    sys::Sys,
    volumes::{Disks, Placed, Runner},
};
use super::{Creation, CreationError, Made, Scratch, failed};
use crate::{
    commands::runner::CommandRunner,
    devices::{DeviceRule, TUN, WORKER_DEVICES},
    egress::{NAMESERVER, Outside},
    messages::ImagePayload,
    oci::{self, Confinement},
    payload::Payload,
    uids::{ImageIds, RangeLease},
    userns,
    verification::Expected,
};

/// What is read of an image's files of accounts, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;
/// What is everybody's to write to, unless a volume is.
const REPLACEABLE: [&str; 2] = ["/tmp", "/dev/shm"];

/// What the container is made of; the spawner derived all but the payload, and has checked that.
#[derive(Debug)]
pub(crate) struct ImageContents<'a> {
    pub(crate) payload: &'a ImagePayload,
    pub(crate) hostname: &'a str,
    /// The directory of unpacked layers, which is root's.
    pub(crate) layers: &'a Path,
    /// Of images' files.
    pub(crate) ids: ImageIds,
    /// Of this replica.
    pub(crate) range: &'a RangeLease,
    pub(crate) volumes: VolumeStores<'a>,
    /// As which uid of the host that runs which joins it to other networks.
    pub(crate) helper_uid: Option<u32>,
    /// By which what runs its commands is told to, where it has any.
    pub(crate) orders: Option<OwnedFd>,
}

/// What is made before the replica's limits hold, and while control groups can be seen.
pub(super) struct Ahead {
    disks: Disks,
    sys: Sys,
    outside: Option<(Outside, u32)>,
}

impl ImageContents<'_> {
    pub(super) fn prepare(&self, creation: &Creation<'_>) -> Result<Ahead, CreationError> {
        let outside = match (self.payload.network, self.helper_uid) {
            (Network::None, _) | (_, None) => None,
            (Network::Egress, Some(uid)) => Some((Outside::prepare(creation.group)?, uid)),
        };
        Ok(Ahead { disks: self.make_disks()?, sys: Sys::open(creation.group)?, outside })
    }

    pub(super) fn devices(&self) -> Vec<DeviceRule> {
        let tun = (self.payload.network == Network::Egress).then_some(TUN);
        WORKER_DEVICES.into_iter().chain(tun).collect()
    }

    fn nameserver(&self) -> Option<Ipv4Addr> {
        (self.payload.network == Network::Egress).then_some(NAMESERVER)
    }

    /// The network first: what is mounted later is seen in it.
    pub(super) fn make(
        self,
        creation: &Creation<'_>,
        scratch: &Scratch<'_>,
        ahead: Ahead,
    ) -> Result<Made, CreationError> {
        let named = Path::new(creation.name);
        // They would be those of whoever started the daemon.
        setgroups(&[]).map_err(failed("giving up the groups of", named))?;
        let outside = ahead.outside.map(|(outside, uid)| outside.open(uid, scratch.place())).transpose()?;
        let network = network::isolate(outside.as_ref())?;
        let opened = self.open_volumes(ahead.disks)?;
        let (root, places) = self.mount_root(scratch, creation.tmp_bytes, &ahead.sys, &opened)?;
        let user = self.user(&root)?;
        let (uid, gid) = (self.range.base() + user.uid, self.range.base() + user.gid);
        let runner = Runner { uid, gid, root: self.range.base() };
        let volumes = self.place_volumes(scratch, opened, runner, places)?;
        working_directory::prepare(self.payload, &root, &volumes, self.range.base())?;
        // So that it can open its standard output by name.
        fchown(&creation.log, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(failed("giving away the log of", named))?;
        let user_namespace = userns::of_processes(self.range).map_err(failed("making the user namespace of", named))?;
        let null = Path::new("/dev/null");
        let stdin = File::open(null).map_err(failed("opening", null))?;
        let confinement = Confinement {
            root: &root,
            is_root_read_only: self.payload.read_only_root,
            hostname: self.hostname,
            cgroup: creation.group.path(),
            running: oci::image::running(self.payload, &user, self.hostname)?,
            mounts: self.mounts(creation.tmp_bytes, ahead.sys.place(scratch)?, &volumes)?,
            makes_network: false,
            user_namespace: user_namespace.as_fd(),
            seccomp: creation.seccomp.clone(),
        };
        let spec = confinement.spec()?;
        let groups = user.groups.iter().map(|gid| self.range.base() + gid).collect();
        let expected = Expected { uid, gid, groups, capabilities: oci::image::capabilities_of(&user) };
        let helper = outside.map(|outside| outside.helper.as_raw());
        let runner = self.orders.map(|orders| Arc::new(CommandRunner::new(orders, self.payload.commands.clone())));
        Ok(Made {
            spec,
            payload: Payload { runner },
            stdin: stdin.into(),
            user_namespace,
            expected,
            network: Some(network),
            helper,
        })
    }

    /// A volume takes the place of what every container has there.
    fn mounts(&self, tmp_bytes: u64, sys: Vec<Mount>, volumes: &[Placed<'_>]) -> Result<Vec<Mount>, OciSpecError> {
        let mut mounts = oci::image::mounts(tmp_bytes, self.payload.read_only_root)?;
        mounts.extend(sys);
        let is_replaced = |mount: &Mount| {
            let place = mount.destination();
            REPLACEABLE.iter().any(|it| Path::new(it) == place) && volumes.iter().any(|it| it.seen_at == *place)
        };
        mounts.retain(|mount| !is_replaced(mount));
        mounts.extend(volumes::mounts(volumes)?);
        Ok(mounts)
    }

    /// As the image says, in the root as its process will see it.
    fn user(&self, root: &Path) -> Result<User, CreationError> {
        let root = open_root(root)?;
        let (passwd, group) = (read_accounts(&root, PASSWD)?, read_accounts(&root, GROUP)?);
        Ok(Accounts { passwd: &passwd, group: &group }.find(&self.payload.user)?)
    }
}

fn open_root(root: &Path) -> Result<OwnedFd, CreationError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(failed("opening", root))
}

/// As a process in it would, whose root it is: a link leads nowhere else.
fn open_inside(root: &OwnedFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), inside);
    for _ in 1..LOOKUPS_MAX {
        match open() {
            // Of a link that leads up the kernel cannot tell where it led while anybody renames anything.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    open()
}

/// Where in the image something is that is open, whose root is open too.
fn place_of(opened: &OwnedFd, root: &OwnedFd) -> io::Result<PathBuf> {
    let path = |opened: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let (path, root) = (path(opened)?, path(root)?);
    let within = path.strip_prefix(root).map_err(|_| io::Error::other("it is not in the image"))?;
    Ok(Path::new("/").join(within))
}

/// How often one name is looked up while others rename.
const LOOKUPS_MAX: u32 = 1_000;

/// The text of a file, whatever its bytes are; of one that is not there, nothing.
fn read_accounts(root: &OwnedFd, path: &'static str) -> Result<String, CreationError> {
    let reading = |source: io::Error| failed("reading the image's", Path::new(path))(source);
    // A fifo would be waited for.
    let file = match open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(reading(error.into())),
    };
    let mode = rustix::fs::fstat(&file).map_err(|error| reading(error.into()))?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Err(CreationError::NotRegular(path));
    }
    let mut bytes = Vec::new();
    File::from(file).take(ACCOUNTS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(reading)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > ACCOUNTS_BYTES_MAX) {
        return Err(CreationError::LargeAccounts(path));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
