//! The programs that make a replica's connections, and starting one.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, SFlag, makedev, mknod},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Gid, Uid, chdir, setgroups, setresgid, setresuid},
};

use super::{EgressError, failed, find_program, resolver::NAMESERVER};
use crate::{
    oci::{NO_CORE_DUMP, OOM_SCORE_ADJ},
    spawner::fork_child,
};

/// What is kept of what one says when it fails, in bytes.
const WORDS_MAX: u64 = 512;
/// Descriptors of one: each connection of its replica takes one or two, and a port of the node's.
const CONNECTIONS_MAX: u64 = 4_096;
/// Where every helper looks for the device that networks are made with.
const TUN_DIRECTORY: &str = "/dev/net";
const TUN: &str = "/dev/net/tun";
/// What its network is called for it. By a name, since pasta closes what it was started with.
const NETWORK_NAMESPACE: &str = "/dev/net/namespace";
/// What the container sees: an address of no meaning elsewhere, whatever networks the node is in.
const ADDRESS: &str = "10.0.2.100";
const PREFIX: &str = "24";
const GATEWAY: &str = "10.0.2.2";
const NETWORK: &str = "10.0.2.0/24";
const INTERFACE: &str = "eth0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Helper {
    Pasta,
    Slirp4netns,
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a helper tells that packets pass.
enum Readiness {
    /// By leaving its work to a process in the background.
    Background,
    /// By a byte to a pipe.
    Pipe(OwnedFd),
}

impl Helper {
    fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// Those of this machine, the faster first.
    pub(super) fn installed() -> impl Iterator<Item = (Self, PathBuf)> {
        [Self::Pasta, Self::Slirp4netns].into_iter().filter_map(|helper| Some((helper, find_program(helper.name())?)))
    }

    /// `namespaces` are the user namespace that it is root of and the network that it serves.
    pub(super) fn start(
        self,
        program: &Path,
        group: &File,
        (user, network): (BorrowedFd<'_>, BorrowedFd<'_>),
        scratch: &Path,
    ) -> Result<(), EgressError> {
        let said = scratch.join(self.name());
        let mut said =
            File::options().read(true).write(true).create_new(true).open(&said).map_err(failed("making its log"))?;
        let (readiness, told) = self.readiness().map_err(failed("making a pipe"))?;
        let inherited = told.as_ref().map(AsRawFd::as_raw_fd);
        let needed = [group.as_raw_fd(), user.as_raw_fd(), network.as_raw_fd(), said.as_raw_fd()];
        let keep: Vec<RawFd> = inherited.into_iter().chain(needed).collect();
        let arguments = self.arguments(inherited);
        let child = fork_child(&keep, || {
            let error = become_helper(group, (user, network), inherited)
                .and_then(|()| Ok((said.try_clone()?, said.try_clone()?)))
                .map(|(out, err)| execute(program, &arguments, out, err))
                .unwrap_or_else(|error| error);
            // Read by who waits for it.
            let _ = writeln!(&said, "{error}");
            1
        })
        .map_err(failed("starting it"))?;
        drop(told);
        let is_ready = match readiness {
            Readiness::Background => false,
            Readiness::Pipe(pipe) => File::from(pipe).read(&mut [0]).is_ok_and(|length| length == 1),
        };
        if is_ready || matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))) {
            return Ok(());
        }
        Err(failed("starting it")(io::Error::other(last_words(&mut said))))
    }

    fn readiness(self) -> io::Result<(Readiness, Option<OwnedFd>)> {
        match self {
            Self::Pasta => Ok((Readiness::Background, None)),
            Self::Slirp4netns => {
                let (reader, writer) = io::pipe()?;
                Ok((Readiness::Pipe(reader.into()), Some(writer.into())))
            }
        }
    }

    fn arguments(self, told: Option<RawFd>) -> Vec<String> {
        let nameserver = NAMESERVER.to_string();
        let words: Vec<&str> = match self {
            Self::Pasta => vec![
                "--quiet",
                "--stderr",
                "--config-net",
                "--netns",
                NETWORK_NAMESPACE,
                "--netns-only",
                "--no-netns-quit",
                // Nobody is let in, and nothing of the node is an address in there.
                "--tcp-ports",
                "none",
                "--udp-ports",
                "none",
                "--tcp-ns",
                "none",
                "--udp-ns",
                "none",
                "--no-map-gw",
                "--address",
                ADDRESS,
                "--netmask",
                PREFIX,
                "--gateway",
                GATEWAY,
                "--ns-ifname",
                INTERFACE,
                "--dns-forward",
                &nameserver,
                // Of IPv6 it would show the node's own address.
                "--ipv4-only",
            ],
            Self::Slirp4netns => vec![
                "--configure",
                "--disable-host-loopback",
                "--enable-sandbox",
                "--enable-seccomp",
                "--cidr",
                NETWORK,
                "--netns-type=path",
            ],
        };
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if self == Self::Slirp4netns {
            words.extend(told.map(|told| format!("--ready-fd={told}")));
            words.extend([NETWORK_NAMESPACE, INTERFACE].map(str::to_owned));
        }
        words
    }
}

/// From here on it has rights in the replica's network alone.
fn become_helper(
    mut group: &File,
    (user, network): (BorrowedFd<'_>, BorrowedFd<'_>),
    inherited: Option<RawFd>,
) -> io::Result<()> {
    group.write_all(b"0")?;
    fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ.to_string())?;
    make_devices(network)?;
    setgroups(&[])?;
    setns(user, CloneFlags::CLONE_NEWUSER)?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    chdir("/")?;
    setrlimit(Resource::RLIMIT_CORE, NO_CORE_DUMP, NO_CORE_DUMP)?;
    let connections = getrlimit(Resource::RLIMIT_NOFILE)?.1.min(CONNECTIONS_MAX);
    setrlimit(Resource::RLIMIT_NOFILE, connections, connections)?;
    // SAFETY: it takes numbers alone, and changes this process, which has one thread.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    inherited.iter().try_for_each(|descriptor: &RawFd| {
        // SAFETY: it takes numbers alone; the descriptor is open, and stays so in the program.
        let done = unsafe { libc::fcntl(*descriptor, libc::F_SETFD, 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    })
}

/// A node of its own, in a mount namespace of its own: not every system lets every user open the device. And beside it
/// the network that it is for.
fn make_devices(network: BorrowedFd<'_>) -> io::Result<()> {
    if !Path::new(TUN_DIRECTORY).is_dir() {
        return Err(io::Error::other(format!("there is no {TUN_DIRECTORY}: load the module tun")));
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("dormouse"), TUN_DIRECTORY, Some("tmpfs"), flags, Some("mode=0755,size=4k"))?;
    mknod(TUN, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))?;
    // Whatever the umask is.
    fs::set_permissions(TUN, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    drop(File::create_new(NETWORK_NAMESPACE)?);
    let network = format!("/proc/self/fd/{}", network.as_raw_fd());
    Ok(mount(Some(network.as_str()), NETWORK_NAMESPACE, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn execute(program: &Path, arguments: &[String], out: File, err: File) -> io::Error {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(out).stderr(err).exec()
}

/// What it said last, in one line.
fn last_words(said: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = said.metadata().map_or(0, |metadata| metadata.len());
    // What cannot be read is not told.
    let _ = said
        .seek(io::SeekFrom::Start(length.saturating_sub(WORDS_MAX)))
        .and_then(|_| said.take(WORDS_MAX).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it ended without a word".to_owned() } else { dormouse_spec::printable(&lines.join(", ")) }
}
