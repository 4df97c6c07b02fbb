use std::{
    fmt, fs,
    fs::File,
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
};

use libseccomp::ScmpNotifReq;

/// A file operation as the kernel was asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The system call.
    pub name: String,
    /// Beneath the directory of the experiment; of a rename, the old name.
    pub path: PathBuf,
    /// Where a rename or link leads to.
    pub to: Option<PathBuf>,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.path.display())?;
        self.to.as_ref().map_or(Ok(()), |to| write!(formatter, " → {}", to.display()))
    }
}

/// Where a system call keeps the name of what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// A descriptor, in the first argument.
    Descriptor,
    /// A path, in the argument of this index.
    Path(usize),
    /// A descriptor of a directory and a path, from this index on.
    At(usize),
    /// Two paths.
    TwoPaths,
    /// Twice a descriptor and a path.
    TwoAt,
}

/// Whether a system call can leave anything behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Looks,
    /// With what it is given to write in its second and third argument.
    Writes,
    Changes,
}

use Effect::{Changes, Looks, Writes};
use Names::{At, Descriptor, Path as PathAt, TwoAt, TwoPaths};

/// Every system call that names a file, of those that a program without special wishes makes.
const CALLS: [(&str, Names, Effect); 54] = [
    ("open", PathAt(0), Changes),
    ("openat", At(0), Changes),
    ("openat2", At(0), Changes),
    ("creat", PathAt(0), Changes),
    ("write", Descriptor, Writes),
    ("pwrite64", Descriptor, Changes),
    ("writev", Descriptor, Changes),
    ("pwritev", Descriptor, Changes),
    ("copy_file_range", Descriptor, Changes),
    ("sendfile", Descriptor, Changes),
    ("fsync", Descriptor, Changes),
    ("fdatasync", Descriptor, Changes),
    ("ftruncate", Descriptor, Changes),
    ("truncate", PathAt(0), Changes),
    ("fallocate", Descriptor, Changes),
    ("rename", TwoPaths, Changes),
    ("renameat", TwoAt, Changes),
    ("renameat2", TwoAt, Changes),
    ("link", TwoPaths, Changes),
    ("linkat", TwoAt, Changes),
    ("symlink", PathAt(1), Changes),
    ("symlinkat", At(1), Changes),
    ("unlink", PathAt(0), Changes),
    ("unlinkat", At(0), Changes),
    ("rmdir", PathAt(0), Changes),
    ("mkdir", PathAt(0), Changes),
    ("mkdirat", At(0), Changes),
    ("mknod", PathAt(0), Changes),
    ("mknodat", At(0), Changes),
    ("chmod", PathAt(0), Changes),
    ("fchmod", Descriptor, Changes),
    ("fchmodat", At(0), Changes),
    ("fchmodat2", At(0), Changes),
    ("chown", PathAt(0), Changes),
    ("lchown", PathAt(0), Changes),
    ("fchown", Descriptor, Changes),
    ("fchownat", At(0), Changes),
    ("utimensat", At(0), Changes),
    ("flock", Descriptor, Looks),
    ("read", Descriptor, Looks),
    ("pread64", Descriptor, Looks),
    ("readv", Descriptor, Looks),
    ("getdents64", Descriptor, Looks),
    ("lseek", Descriptor, Looks),
    ("fstat", Descriptor, Looks),
    ("stat", PathAt(0), Looks),
    ("lstat", PathAt(0), Looks),
    ("newfstatat", At(0), Looks),
    ("statx", At(0), Looks),
    ("statfs", PathAt(0), Looks),
    ("fstatfs", Descriptor, Looks),
    ("access", PathAt(0), Looks),
    ("faccessat", At(0), Looks),
    ("faccessat2", At(0), Looks),
];

/// The names of all that are watched.
pub(crate) fn watched() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, ..)| *name)
}

/// A file operation that waits for an answer, and what else has to be known of it.
pub(crate) struct Asked {
    pub(crate) call: Call,
    effect: Effect,
    args: [u64; 6],
}

impl Asked {
    /// `None` for operations outside `place`: those of the runtime and the test harness.
    pub(crate) fn read(request: &ScmpNotifReq, place: &Path) -> Option<Self> {
        let name = request.data.syscall.get_name().ok()?;
        let (_, names, effect) = CALLS.iter().find(|(other, ..)| *other == name)?;
        let args = request.data.args;
        let (path, to) = match *names {
            Descriptor => (descriptor(args[0])?, None),
            PathAt(index) => (text(args[index])?, None),
            At(index) => (at(args[index], args[index + 1])?, None),
            TwoPaths => (text(args[0])?, Some(text(args[1])?)),
            TwoAt => (at(args[0], args[1])?, Some(at(args[2], args[3])?)),
        };
        let within = |path: PathBuf| path.strip_prefix(place).map(Path::to_owned).ok();
        let call = Call { name, path: within(path)?, to: to.and_then(within) };
        Some(Self { call, effect: *effect, args })
    }

    pub(crate) fn can_change(&self) -> bool {
        self.effect != Looks
    }

    pub(crate) fn is_write(&self) -> bool {
        self.effect == Writes
    }

    /// Writes the first half of what was to be written, as a kernel may that is short of space.
    pub(crate) fn write_half(&self) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.args[2] / 2).unwrap()];
        memory()?.read_exact_at(&mut bytes, self.args[1])?;
        let mut file = File::options().append(true).open(format!("/proc/self/fd/{}", self.args[0]))?;
        io::Write::write_all(&mut file, &bytes)
    }
}

fn memory() -> io::Result<File> {
    File::open("/proc/self/mem")
}

/// The path at an address of this process.
fn text(address: u64) -> Option<PathBuf> {
    const PATH_BYTES_MAX: usize = 4096;
    let mut bytes = vec![0; PATH_BYTES_MAX];
    // Shorter where the next page is not there.
    let read = memory().ok()?.read_at(&mut bytes, address).ok()?;
    bytes.truncate(bytes.get(..read)?.iter().position(|byte| *byte == 0)?);
    Some(std::ffi::OsString::from_vec(bytes).into())
}

fn descriptor(number: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

fn at(directory: u64, address: u64) -> Option<PathBuf> {
    let path = text(address)?;
    if path.is_absolute() {
        return Some(path);
    }
    // The kernel takes a descriptor for 32 bits.
    let is_current = directory as u32 as i32 == rustix_at_fdcwd();
    let directory = if is_current { std::env::current_dir().ok()? } else { descriptor(directory)? };
    Some(if path.as_os_str().is_empty() { directory } else { directory.join(path) })
}

/// `AT_FDCWD`.
const fn rustix_at_fdcwd() -> i32 {
    -100
}
