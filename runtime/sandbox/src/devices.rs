//! Which devices a replica may use, and the kernel made to enforce it.
//!
//! The policy is the group's before anything of a container is made in it. libcontainer is kept from
//! adding rules of its own, which on v1 allow `mknod` of everything, terminals and tun, and on v2 are not
//! enforced at all.

mod program;
pub mod v1;
pub mod v2;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

pub use self::v2::probe_kernel;
use crate::bpf::BpfError;

/// Why a device policy is not enforced.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("{operation} {path} failed", path = path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kernel enforces other device rules than it was given: {given} were given, it tells {enforced}")]
    NotEnforced { given: String, enforced: String },
    #[error("a device policy of {rules} rules is over the limit of {limit}")]
    TooManyRules { rules: usize, limit: usize },
    #[error("this kernel cannot enforce a device policy on control groups v2: {reason}")]
    Unsupported {
        reason: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Bpf(#[from] BpfError),
}

impl DeviceError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }
}

/// The two kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    /// Making a node of it.
    pub mknod: bool,
}

impl Access {
    pub const READ_WRITE: Self = Self { read: true, write: true, mknod: false };
}

/// Lets one device be used, or all of one major number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    pub major: u32,
    /// None is every one.
    pub minor: Option<u32>,
    pub access: Access,
}

impl DeviceRule {
    const fn memory_device(minor: u32) -> Self {
        Self { kind: DeviceKind::Char, major: 1, minor: Some(minor), access: Access::READ_WRITE }
    }
}

/// With which a process makes the device of a network: a helper's, for what a replica may reach outside.
pub const TUN: DeviceRule = DeviceRule {
    kind: DeviceKind::Char,
    major: 10,
    minor: Some(200),
    access: Access { read: true, write: true, mknod: true },
};

/// What a model worker gets: null, zero, full, random and urandom.
pub const WORKER_DEVICES: [DeviceRule; 5] = [
    DeviceRule::memory_device(3),
    DeviceRule::memory_device(5),
    DeviceRule::memory_device(7),
    DeviceRule::memory_device(8),
    DeviceRule::memory_device(9),
];

/// As v1 writes it: `c 1:3 rw`.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        write!(f, "{kind} {}:", self.major)?;
        match self.minor {
            Some(minor) => write!(f, "{minor} ")?,
            None => f.write_str("* ")?,
        }
        for (letter, is_allowed) in [('r', self.access.read), ('w', self.access.write), ('m', self.access.mknod)] {
            if is_allowed {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_as_the_kernel_tells_them() {
        let all = Access { read: true, write: true, mknod: true };
        let disk = DeviceRule { kind: DeviceKind::Block, major: 8, minor: None, access: all };
        assert_eq!(disk.to_string(), "b 8:* rwm");
        let texts = WORKER_DEVICES.map(|rule| rule.to_string());
        assert_eq!(texts, ["c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw"]);
    }
}
