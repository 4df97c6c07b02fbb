//! A stand-in for a template: it forks servers and tells how they ended.
#![allow(unsafe_code)]

use std::{fs::File, io::Write, os::fd::OwnedFd, process::exit};

use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork},
};
use serde_json::{Value, json};

use super::{receive, receive_on, say};

/// A server of an endpoint of this name does not join its control group.
pub const STAYS_BEHIND: &str = "stays-behind";
/// One of this name loads no filter.
pub const UNFILTERED: &str = "unfiltered";
/// A template of this name tells no server's end.
pub const TELLS_NOTHING: &str = "tells-nothing";
/// One of this name tells the end of a server that nobody asked for.
pub const TELLS_TOO_MUCH: &str = "tells-too-much";

/// One of this name takes for its servers what they are told, keeps the entrances to their control groups, and is in
/// that of the last server before the one that it forks.
pub const MOVES_IN: &str = "moves-in";

/// Takes orders until nobody gives any more. Returns in each server, with its listener.
pub fn serve(name: &str) -> OwnedFd {
    let mut servers = Vec::<(u64, Pid)>::new();
    let mut kept = Vec::new();
    while let Some((order, mut descriptors)) = receive() {
        let server = order["server"].as_u64().unwrap();
        match order["order"].as_str().unwrap() {
            "fork" => {
                let control = descriptors.pop().expect("a server is given a channel");
                let taken = (name == MOVES_IN).then(|| to_serve(&control));
                // SAFETY: this process has one thread.
                match unsafe { fork() }.unwrap() {
                    ForkResult::Child => {
                        dup2_stdin(&control).unwrap();
                        return become_server(name, taken.unwrap_or_else(|| to_serve(&control)));
                    }
                    ForkResult::Parent { child } => servers.push((server, child)),
                }
                match (name, taken) {
                    (TELLS_TOO_MUCH, _) => tell(server, &json!({ "code": 0 })),
                    (_, Some(mut taken)) => enter(std::mem::replace(&mut kept, taken.split_off(OWN))),
                    _ => {}
                }
            }
            "reap" if name == TELLS_NOTHING => {}
            "reap" => {
                let pid = servers.iter().find(|(known, _)| *known == server).map(|(_, pid)| *pid);
                let ended = pid.map_or(Value::Null, |pid| match waitpid(pid, None).unwrap() {
                    WaitStatus::Exited(_, code) => json!({ "code": code }),
                    WaitStatus::Signaled(_, signal, _) => json!({ "signal": signal as i32 }),
                    other => panic!("{other:?}"),
                });
                tell(server, &ended);
            }
            other => panic!("{other}"),
        }
    }
    exit(0)
}

/// Of what a server is told to serve with: its listener and its log.
const OWN: usize = 2;

/// Waits until a server is wanted, and ends where it is not.
fn to_serve(control: &OwnedFd) -> Vec<OwnedFd> {
    let Some((order, descriptors)) = receive_on(control) else { exit(0) };
    assert_eq!(order["order"], "serve");
    descriptors
}

/// Moves this process into control groups.
fn enter(entrances: impl IntoIterator<Item = OwnedFd>) {
    for entrance in entrances {
        File::from(entrance).write_all(b"0").unwrap();
    }
}

fn tell(server: u64, ended: &Value) {
    say(format!("X{}", json!({ "server": server, "ended": ended })).as_bytes());
}

/// Joins its control group, takes its log in place of its template's, and goes under filters of its own, which allow
/// all that the one before does.
fn become_server(name: &str, descriptors: Vec<OwnedFd>) -> OwnedFd {
    let mut descriptors = descriptors.into_iter();
    let [listener, log] = [(); OWN].map(|()| descriptors.next().expect("a server is given two of its own"));
    if name != STAYS_BEHIND {
        enter(descriptors);
    }
    dup2_stdout(&log).unwrap();
    dup2_stderr(&log).unwrap();
    if name != UNFILTERED {
        // As many as a real one loads.
        allow_everything();
        allow_everything();
    }
    listener
}

fn allow_everything() {
    const RETURN_ALLOW: [libc::sock_filter; 1] = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }];
    let program = libc::sock_fprog { len: 1, filter: RETURN_ALLOW.as_ptr().cast_mut() };
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the kernel reads one instruction, which lives for ever.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
