//! What the controls of the attack suite are made of. Never part of the product.

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder};

use super::Defence;

/// Holds the name of the defence that is missing.
const WEAKENED_VARIABLE: &str = "DORMOUSE_WEAKENED";

/// Far more than any attack of the suite sends, and no danger to the machine it runs on.
const BYTES_WITHOUT_LIMIT: usize = 256 << 20;
const HEADERS_WITHOUT_LIMIT: usize = 1 << 20;

pub(super) fn missing() -> &'static str {
    static MISSING: OnceLock<String> = OnceLock::new();
    MISSING.get_or_init(|| std::env::var(WEAKENED_VARIABLE).unwrap_or_default())
}

/// Both versions of HTTP without the limits that are missing.
pub(crate) fn protocols(server: &mut Builder<TokioExecutor>) {
    if !Defence::HeadLimit.stands() {
        server.http1().max_buf_size(BYTES_WITHOUT_LIMIT).max_headers(HEADERS_WITHOUT_LIMIT);
        server.http2().max_header_list_size(BYTES_WITHOUT_LIMIT as u32);
    }
    if !Defence::StreamLimit.stands() {
        server.http2().max_concurrent_streams(None).max_local_error_reset_streams(None);
        server.http2().max_pending_accept_reset_streams(usize::MAX);
    }
}

/// A file that a name leads to, as servers read one that join names to paths.
pub(crate) fn file_named(name: &str) -> Option<String> {
    if Defence::NamesLookedUp.stands() {
        return None;
    }
    let name = name.replace("%2f", "/").replace("%2F", "/").replace("%2e", ".").replace("%2E", ".");
    let beneath: PathBuf = Path::new("/var/lib/models").join(name);
    // Components are resolved here, since the directory it begins in need not exist.
    let mut path = PathBuf::from("/");
    for component in beneath.components() {
        match component {
            std::path::Component::ParentDir => drop(path.pop()),
            std::path::Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    std::fs::read_to_string(path).ok()
}

/// Opens anew, with our own rights, what a caller could only point at.
pub(crate) fn opened_again(descriptors: Vec<OwnedFd>) -> Vec<OwnedFd> {
    if Defence::CallerOpens.stands() {
        return descriptors;
    }
    let open = |file: OwnedFd| File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_or(file, OwnedFd::from);
    descriptors.into_iter().map(open).collect()
}
