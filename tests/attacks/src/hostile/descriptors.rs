//! What was open before this program opened anything, and what can be done with it.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    os::fd::{BorrowedFd, RawFd},
    sync::OnceLock,
};

use dormouse_driver::worker::errno;
use rustix::net::SocketFlags;

static INHERITED: OnceLock<Vec<(RawFd, String)>> = OnceLock::new();

/// Looks before anything else is opened.
pub(super) fn remember() {
    INHERITED.get_or_init(|| {
        let described = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            // The directory being read is itself open.
            let number = entry.file_name().to_str()?.parse().ok()?;
            (!target.ends_with("/fd")).then_some((number, target))
        };
        // Without a /proc there is nothing to be told.
        fs::read_dir("/proc/self/fd").map(|entries| entries.filter_map(described).collect()).unwrap_or_default()
    });
}

/// Everything but the channel and the log.
fn beyond_what_belongs() -> impl Iterator<Item = &'static (RawFd, String)> {
    INHERITED.get().into_iter().flatten().filter(|(number, _)| *number > 2)
}

pub(super) fn inherited() -> String {
    beyond_what_belongs().map(|(number, target)| format!("{number} {target}\n")).collect()
}

/// Answers with what a client of somebody else's listener sends.
pub(super) fn take_connection() -> String {
    for (number, _) in beyond_what_belongs() {
        // SAFETY: it was open when the program began, and nothing here closes it.
        let listener = unsafe { BorrowedFd::borrow_raw(*number) };
        let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) else { continue };
        let mut request = String::new();
        // What is no client's is passed over.
        if TcpStream::from(connection).read_to_string(&mut request).is_ok() && !request.is_empty() {
            return request;
        }
    }
    String::new()
}

/// Tries to reach a file of the host from the working directory and from every descriptor.
pub(super) fn leave_root() -> String {
    let up = "../".repeat(32);
    let cwd = fs::read_link("/proc/self/cwd").map_or_else(|error| errno(&error), |path| path.display().to_string());
    if cwd != "/" {
        return format!("the working directory is {cwd}");
    }
    let descriptors = beyond_what_belongs().map(|(number, _)| format!("/proc/self/fd/{number}/{up}"));
    for start in descriptors.chain([up.clone()]) {
        if let Ok(accounts) = fs::read_to_string(format!("{start}etc/passwd")) {
            return accounts;
        }
    }
    String::new()
}
