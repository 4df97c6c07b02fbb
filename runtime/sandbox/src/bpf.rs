//! The three commands of `bpf(2)` that programs of control groups need. No safe wrapper that is in reach has
//! them: libc knows the system call's number only, rustix not even that.

pub(crate) mod instruction;

use std::{
    ffi::{CStr, c_long},
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::libc;

use self::instruction::Instruction;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_QUERY: libc::c_int = 16;

/// What a program decides on, in a control group and all below it. 1 allows, 0 denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Every open and `mknod` of a device.
    Device,
    /// Every packet that a socket of a process sends, but for copies that the kernel keeps for the machine itself.
    Egress,
    /// To which address a socket is connected.
    Connect4,
    Connect6,
    /// To which address a datagram is sent by a socket that is not connected.
    Send4,
    Send6,
}

impl Hook {
    /// `BPF_PROG_TYPE_CGROUP_DEVICE`, `_CGROUP_SKB` and `_CGROUP_SOCK_ADDR`.
    fn program_type(self) -> u32 {
        match self {
            Self::Device => 15,
            Self::Egress => 8,
            Self::Connect4 | Self::Connect6 | Self::Send4 | Self::Send6 => 18,
        }
    }

    /// `BPF_CGROUP_DEVICE`, `_INET_EGRESS`, `_INET4_CONNECT`, `_INET6_CONNECT`, `_UDP4_SENDMSG` and `_UDP6_SENDMSG`.
    fn attach_type(self) -> u32 {
        match self {
            Self::Device => 6,
            Self::Egress => 1,
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::Send4 => 14,
            Self::Send6 => 15,
        }
    }

    /// What a program is loaded for. One of devices can be attached nowhere else.
    fn expected_attach_type(self) -> u32 {
        if self == Self::Device { 0 } else { self.attach_type() }
    }

    /// Shown by `bpftool prog`; ends in a NUL.
    fn name(self) -> [u8; 16] {
        match self {
            Self::Device => *b"dormouse_device\0",
            Self::Egress => *b"dormouse_egress\0",
            Self::Connect4 | Self::Connect6 | Self::Send4 | Self::Send6 => *b"dormouse_addres\0",
        }
    }
}

/// Why a program decides nothing.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    #[error("{operation} failed{log}", log = log_tail(log))]
    Call {
        operation: &'static str,
        /// The end of what the kernel's verifier said of the program.
        log: String,
        #[source]
        source: io::Error,
    },
    #[error("{operation} {path} failed", path = path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kernel runs other programs than it was given: program {given} was given, it tells {attached}")]
    NotAttached { given: u32, attached: String },
}

fn log_tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(": the verifier says `{log}`") }
}
/// Every attached program must allow: one of somebody else's can only deny more.
const F_ALLOW_MULTI: u32 = 2;

const LICENSE: &CStr = c"Apache-2.0";
const LOG_BYTES: usize = 64 << 10;
const LOG_TAIL_BYTES_MAX: usize = 512;
/// The kernel's own limit of programs on one group.
const ATTACHED_MAX: usize = 64;

/// `union bpf_attr` of each command, up to the last field that is used. The kernel takes any size
/// and reads what is beyond it as zero. Every byte is a field, so none of it is uninitialised.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

#[repr(C)]
struct QueryAttributes {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

const _: () = assert!(size_of::<LoadAttributes>() == 72);
const _: () = assert!(size_of::<AttachAttributes>() == 16);
const _: () = assert!(size_of::<QueryAttributes>() == 32);

/// What is attached to a group itself.
#[derive(Debug)]
struct Attached {
    ids: Vec<u32>,
    is_multi: bool,
}

/// Has the program decide for the group whose directory this is, beside any that do: what several do not all
/// allow is denied.
///
/// # Errors
/// Where the kernel does not then tell this very program among those it runs.
pub(crate) fn apply(directory: &Path, hook: Hook, program: &[Instruction]) -> Result<(), BpfError> {
    let opened = fs::File::open(directory);
    let cgroup =
        opened.map_err(|source| BpfError::File { operation: "opening", path: directory.to_owned(), source })?;
    let program = load(hook, program)?;
    attach(cgroup.as_fd(), hook, program.as_fd())?;
    let given = id(&program)?;
    let attached = query(cgroup.as_fd(), hook)?;
    if attached.is_multi && attached.ids.contains(&given) {
        return Ok(());
    }
    Err(BpfError::NotAttached { given, attached: format!("{attached:?}") })
}

/// Hands a program to the kernel, which verifies it. On failure the error has the end of
/// the verifier's log.
pub(crate) fn load(hook: Hook, program: &[Instruction]) -> Result<OwnedFd, BpfError> {
    let mut no_log = [];
    load_with_log(hook, program, &mut no_log).or_else(|first| {
        let mut log = vec![0; LOG_BYTES];
        // Only a refused program has a log; a second try that succeeds is as good as the first.
        load_with_log(hook, program, &mut log).map_err(|_| BpfError::Call {
            operation: "loading a BPF program",
            log: tail(&log),
            source: first,
        })
    })
}

fn load_with_log(hook: Hook, program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let attributes = LoadAttributes {
        prog_type: hook.program_type(),
        insn_cnt: u32::try_from(program.len()).map_err(too_long)?,
        insns: program.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(too_long)?,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
        kern_version: 0,
        prog_flags: 0,
        prog_name: hook.name(),
        prog_ifindex: 0,
        expected_attach_type: hook.expected_attach_type(),
    };
    // SAFETY: LoadAttributes is the command's layout. The kernel reads `insn_cnt` instructions, the
    // licence up to its NUL and writes at most `log_size` bytes of log; all three outlive the call,
    // and the log is borrowed exclusively.
    let fd = unsafe { bpf(PROG_LOAD, (&raw const attributes).cast_mut()) }?;
    let fd = i32::try_from(fd).map_err(too_long)?;
    // SAFETY: a successful load returns a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to a group beside those that are there.
fn attach(cgroup: BorrowedFd<'_>, hook: Hook, program: BorrowedFd<'_>) -> Result<(), BpfError> {
    let mut attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: hook.attach_type(),
        attach_flags: F_ALLOW_MULTI,
    };
    // SAFETY: AttachAttributes is the command's layout; it holds no pointers, and both descriptors
    // are borrowed for the length of the call.
    unsafe { bpf(PROG_ATTACH, &raw mut attributes) }.map(drop).map_err(failed("attaching a BPF program"))
}

/// The programs attached to a group itself.
fn query(cgroup: BorrowedFd<'_>, hook: Hook) -> Result<Attached, BpfError> {
    let mut ids = vec![0_u32; ATTACHED_MAX];
    let mut attributes = QueryAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: hook.attach_type(),
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: ATTACHED_MAX as u32,
        padding: 0,
    };
    // SAFETY: QueryAttributes is the command's layout. The kernel writes at most `prog_cnt` ids,
    // which `ids` has room for, and its answers into `attributes`; both are borrowed exclusively.
    unsafe { bpf(PROG_QUERY, &raw mut attributes) }.map_err(failed("asking for the attached BPF programs"))?;
    ids.truncate(attributes.prog_cnt as usize);
    Ok(Attached { ids, is_multi: attributes.attach_flags == F_ALLOW_MULTI })
}

/// The kernel's number of a loaded program; `/proc` tells it, so that no system call need be made
/// by hand.
fn id(program: &OwnedFd) -> Result<u32, BpfError> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd()));
    let id = fs::read_to_string(&path).and_then(|text| {
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        id.and_then(|id| id.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    });
    id.map_err(|source| BpfError::File { operation: "reading the BPF program's id from", path, source })
}

/// # Safety
/// `T` must be the layout of `command`'s part of `union bpf_attr`, and every address and length in
/// it must be memory that the kernel may read, or write where the command does.
unsafe fn bpf<T>(command: libc::c_int, attributes: *mut T) -> io::Result<c_long> {
    // SAFETY: the kernel reads and writes no more of `attributes` than its size, which is passed;
    // the rest is what the caller promised.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> BpfError {
    move |source| BpfError::Call { operation, log: String::new(), source }
}

/// The last lines of a NUL-terminated log: the verifier ends with its reason.
fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default()).trim().to_owned();
    let start = text.ceil_char_boundary(text.len().saturating_sub(LOG_TAIL_BYTES_MAX));
    text.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::instruction::answer;
    use super::*;

    #[test]
    fn a_refused_program_is_told_with_the_verifiers_reason() {
        assert!(nix::unistd::geteuid().is_root(), "needs root");
        let program = answer(1);
        let loaded = load(Hook::Device, &program).unwrap();
        assert!(id(&loaded).unwrap() > 0);
        // Without its first step it answers with what nobody has set.
        let Err(BpfError::Call { log, source, .. }) = load(Hook::Device, program.get(1..).unwrap()) else {
            panic!("the kernel took a program without an answer")
        };
        assert!(log.contains("R0 !read_ok"), "{log}");
        assert!(source.raw_os_error().is_some());
    }

    #[test]
    fn the_end_of_a_log_is_kept() {
        assert_eq!(tail(b"0: (95) exit\nR0 !read_ok\n\0\0\0"), "0: (95) exit\nR0 !read_ok");
        assert_eq!(tail(&[0; 8]), "");
        let long = ["x".repeat(LOG_BYTES), "the reason".to_owned()].concat();
        let kept = tail(long.as_bytes());
        assert!(kept.ends_with("the reason") && kept.len() <= LOG_TAIL_BYTES_MAX);
    }
}
