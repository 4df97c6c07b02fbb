//! What a server does that a request has taken over: the product's own worker, confined by its own
//! code, of which one thread does what an attacker names.
//!
//! All that a server was forked with is at the same address in its template and in every sibling, so a
//! variable of this program is what is written to and read there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use dormouse_driver::worker::{errno, outcome};
use dormouse_worker_weakened::WorkerArgs;
use nix::libc;

/// Something of a process's own: whoever is forked has its template's.
static MARK: AtomicU64 = AtomicU64::new(0);
/// Of no process, but of every descriptor that a server could have.
const DESCRIPTORS: std::ops::Range<libc::c_int> = 0..64;
/// How often a process that is to stop is looked for.
const LOOKS_MAX: u32 = 1 << 20;

/// The worker, as its container starts it.
pub fn worker() -> ExitCode {
    dormouse_worker_weakened::take_over(deed);
    match WorkerArgs::parse(std::env::args_os().skip(2)) {
        Ok(args) => dormouse_worker_weakened::run(args),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers `ok`, what was asked for, or how the kernel refused.
fn deed(command: &str) -> String {
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "mark" => MARK.load(Ordering::SeqCst).to_string(),
        "keep" => {
            MARK.store(argument.parse().unwrap(), Ordering::SeqCst);
            "ok".to_owned()
        }
        "peek" => peek(argument).map_or_else(|error| errno(&error), |mark| mark.to_string()),
        "poke-file" => outcome(poked(argument, poke_file)),
        "poke-call" => outcome(poked(argument, poke_call)),
        "poke-traced" => outcome(poked(argument, poke_traced)),
        "signal" => outcome(signal(argument)),
        "fork" => fork(argument.parse().unwrap()),
        "read" => fs::read_to_string(argument).unwrap_or_else(|error| errno(&error)),
        "open" => outcome(OpenOptions::new().write(true).open(argument)),
        "create" => create(argument),
        "say" => say(argument.as_bytes()),
        _ => panic!("unknown deed {verb}"),
    }
}

/// The mark of another process, by the file that is its memory.
fn peek(pid: &str) -> io::Result<u64> {
    let mut mark = [0; 8];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut mark, &raw const MARK as u64)?;
    Ok(u64::from_ne_bytes(mark))
}

/// `PID MARK`
fn poked(argument: &str, poke: fn(libc::pid_t, u64) -> io::Result<()>) -> io::Result<()> {
    let (pid, mark) = argument.split_once(' ').unwrap();
    poke(pid.parse().unwrap(), mark.parse().unwrap())
}

fn poke_file(pid: libc::pid_t, mark: u64) -> io::Result<()> {
    let memory = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?;
    memory.write_all_at(&mark.to_ne_bytes(), &raw const MARK as u64)
}

fn poke_call(pid: libc::pid_t, mark: u64) -> io::Result<()> {
    let local = libc::iovec { iov_base: (&raw const mark).cast_mut().cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: (&raw const MARK).cast_mut().cast(), iov_len: 8 };
    // SAFETY: eight bytes of this process are read; what is written is another one's.
    let written = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if written == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn poke_traced(pid: libc::pid_t, mark: u64) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let trace = |request, address: *mut libc::c_void, data: *mut libc::c_void| {
        // SAFETY: the memory that is written to is another process's.
        let result = unsafe { libc::ptrace(request, pid, address, data) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    trace(libc::PTRACE_SEIZE, nothing, nothing)?;
    trace(libc::PTRACE_INTERRUPT, nothing, nothing)?;
    let place = (&raw const MARK).cast_mut().cast();
    let mut poked = Ok(());
    // It is there for its debugger once it has stopped.
    for _ in 0..LOOKS_MAX {
        poked = trace(libc::PTRACE_POKEDATA, place, mark as *mut libc::c_void);
        if !matches!(&poked, Err(error) if error.raw_os_error() == Some(libc::ESRCH)) {
            break;
        }
    }
    poked.and_then(|()| trace(libc::PTRACE_DETACH, nothing, nothing))
}

/// `CALL PID SIGNAL`
fn signal(argument: &str) -> io::Result<()> {
    let words: Vec<&str> = argument.split(' ').collect();
    let [call, pid, signal] = words[..] else { panic!("{argument}") };
    let (pid, signal): (i64, i64) = (pid.parse().unwrap(), signal.parse().unwrap());
    // Of a signal that is queued: its number, and that it was.
    let mut told = [0_i32; 32];
    (told[0], told[2]) = (signal as i32, libc::SI_QUEUE);
    let told = (&raw const told) as i64;
    let made = |number: libc::c_long, arguments: [i64; 4]| {
        let [a, b, c, d] = arguments;
        // SAFETY: the kernel reads what is told of the signal, which outlives the call.
        let result = unsafe { libc::syscall(number, a, b, c, d) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
    };
    let result = match call {
        "kill" => made(libc::SYS_kill, [pid, signal, 0, 0]),
        "tkill" => made(libc::SYS_tkill, [pid, signal, 0, 0]),
        "tgkill" => made(libc::SYS_tgkill, [pid, pid, signal, 0]),
        "rt_sigqueueinfo" => made(libc::SYS_rt_sigqueueinfo, [pid, signal, told, 0]),
        "rt_tgsigqueueinfo" => made(libc::SYS_rt_tgsigqueueinfo, [pid, pid, signal, told]),
        "pidfd_send_signal" => made(libc::SYS_pidfd_open, [pid, 0, 0, 0])
            .and_then(|held| made(libc::SYS_pidfd_send_signal, [held, signal, 0, 0])),
        _ => panic!("unknown call {call}"),
    };
    result.map(drop)
}

/// How many processes there could be made, and what the kernel said to one more if it did.
fn fork(wanted: u32) -> String {
    for made in 0..wanted {
        // SAFETY: what is forked waits for its end and does nothing else.
        match unsafe { libc::fork() } {
            -1 => return format!("{made} {}", errno(&io::Error::last_os_error())),
            0 => loop {
                std::thread::park();
            },
            _ => {}
        }
    }
    wanted.to_string()
}

/// `PATH TEXT`
fn create(argument: &str) -> String {
    let (path, text) = argument.split_once(' ').unwrap();
    outcome(File::create(path).and_then(|mut file| file.write_all(text.as_bytes())))
}

/// Sends a word over every socket there is: the descriptors that took it.
fn say(word: &[u8]) -> String {
    let takes = |descriptor: &libc::c_int| {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the kernel reads the word.
        unsafe { libc::send(*descriptor, word.as_ptr().cast(), word.len(), flags) != -1 }
    };
    DESCRIPTORS.filter(takes).map(|descriptor| descriptor.to_string()).collect::<Vec<_>>().join(" ")
}
