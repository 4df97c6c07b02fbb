//! The payload under test: says that it is ready and tells what it can see and do.

use std::{
    io::{IoSliceMut, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::ExitCode,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

pub fn serve() -> ExitCode {
    let listener = receive_listener();
    rustix::net::send(std::io::stdin(), b"R", SendFlags::empty()).unwrap();
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        connection.write_all(observations().to_string().as_bytes()).unwrap();
    }
    ExitCode::SUCCESS
}

fn receive_listener() -> UnixListener {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::ioctl_fionbio(std::io::stdin(), false).unwrap();
    rustix::net::recvmsg(std::io::stdin(), &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty())
        .unwrap();
    let listener: OwnedFd = ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .expect("the listener comes with the assignment");
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(false).unwrap();
    listener
}

/// Everything the tests compare, as one JSON object.
fn observations() -> serde_json::Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned()
    };
    let listing = |path: &str| {
        let mut names: Vec<String> = std::fs::read_dir(path)
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        names.sort();
        names
    };
    let capabilities = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(field);
    serde_json::json!({
        "pid": std::process::id(),
        "uid": field("Uid:"),
        "capabilities": capabilities,
        "no_new_privs": field("NoNewPrivs:"),
        "seccomp": field("Seccomp:"),
        "root": listing("/"),
        "dev": listing("/dev"),
        "model": listing("/mnt/models"),
        "descriptors": listing("/proc/self/fd"),
        "interfaces": std::fs::read_to_string("/proc/net/dev").unwrap_or_default().lines().count(),
        "write_root": std::fs::write("/usr/bin/x", b"").unwrap_err().raw_os_error(),
        "write_model": std::fs::write("/mnt/models/x", b"").unwrap_err().raw_os_error(),
        "write_tmp": std::fs::write("/tmp/x", b"x").is_ok(),
        "mounts": std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        "cgroup": std::fs::read_to_string("/proc/self/cgroup").unwrap(),
        "tty": std::fs::File::open("/dev/tty").unwrap_err().raw_os_error(),
        "environment": std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "oom_score_adj": std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim(),
    })
}
