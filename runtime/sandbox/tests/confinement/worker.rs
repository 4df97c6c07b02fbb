//! The payload: it does what a connection asks and answers with what came of it.
//!
//! Its endpoint's name tells how it behaves before it serves and when it is told to end.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    process::exit,
    sync::OnceLock,
};

use dormouse_driver::worker::{READY, assignment, errno, outcome, say};
use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};
use rustix::net::SendFlags;

pub(crate) const DIES_AT_ONCE: &str = "dies-at-once";
pub(crate) const FAILS_TO_LOAD: &str = "fails-to-load";
pub(crate) const IGNORES_SIGTERM: &str = "ignores-sigterm";
pub(crate) const FORGES: &str = "forges";
pub(crate) const CHATTERS: &str = "chatters";
pub(crate) const LIES: &str = "lies";
/// A loading that took longer than any may.
const LIE: &[u8] = br#"R{"runtime_us":1,"model_us":2,"session_us":18446744073709551615}"#;
pub(crate) const LOAD_REASON: &str = "Load model failed: no such operator";
/// A reason that would end the line it is printed in, begin another and colour both.
pub(crate) const FORGED: &str = "no\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{2028}\u{202e}\0";
/// What follows it is no text.
const FORGED_NOISE_BYTES: usize = 8_192;
/// What is logged on SIGTERM.
pub(crate) const TOLD_TO_END: &str = "told to end";
pub(crate) const EXIT_AT_ONCE: i32 = 7;

/// What was open before this program opened anything: number and what it is.
static INHERITED: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// What one command comes to, for a process of an image.
pub(crate) fn answer_once(command: &str) -> std::process::ExitCode {
    println!("{}", answer(command));
    std::process::ExitCode::SUCCESS
}

pub(crate) fn main() -> ! {
    INHERITED.get_or_init(descriptors);
    let (name, listener) = assignment();
    match name.as_str() {
        DIES_AT_ONCE => exit(EXIT_AT_ONCE),
        FAILS_TO_LOAD => {
            say(format!("E{LOAD_REASON}").as_bytes());
            exit(1)
        }
        FORGES => {
            say(&[b"E", FORGED.as_bytes(), &[0xff; FORGED_NOISE_BYTES]].concat());
            exit(1)
        }
        _ => {}
    }
    on_sigterm(if name == IGNORES_SIGTERM { log_it } else { log_it_and_exit });
    say(if name == LIES { LIE } else { READY });
    if name == CHATTERS {
        // Until the socket is full; nothing may come of it.
        while rustix::net::send(io::stdin(), READY, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok() {}
    }
    loop {
        let (mut connection, _) = listener.accept().unwrap();
        let mut command = String::new();
        connection.read_to_string(&mut command).unwrap();
        // The caller may have gone.
        let _ = connection.write_all(answer(&command).as_bytes());
    }
}

fn answer(command: &str) -> String {
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "read" => fs::read_to_string(argument).unwrap_or_else(|error| errno(&error)),
        "list" => list(argument),
        "create" => outcome(File::create_new(argument)),
        "open" => outcome(OpenOptions::new().read(true).write(true).open(argument)),
        "inherited" => serde_json::to_string(INHERITED.get().unwrap()).unwrap(),
        "environment" => std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect(),
        "hostname" => fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned(),
        "wait" => wait(argument.parse().unwrap()),
        "say" => {
            println!("{argument}");
            "said".to_owned()
        }
        "fill" => fill(argument),
        "execute-from" => execute_from(argument),
        "threads" => threads().to_string(),
        "eat" => eat(),
        "exit" => exit(argument.parse().unwrap()),
        "fault" => fault(),
        "abort" => std::process::abort(),
        "overflow-stack" => overflow_stack(0).to_string(),
        "panic" => panic!("told to panic"),
        "thread" => outcome(std::thread::Builder::new().spawn(|| {}).map(std::thread::JoinHandle::join)),
        "rewrite-own-code" => rewrite_own_code(),
        "system-call" => system_call(argument),
        "system-calls" => argument.split(',').map(system_call).collect::<Vec<_>>().join(","),
        #[cfg(target_arch = "x86_64")]
        "interrupt-80" => interrupt_80(),
        _ => panic!("unknown command {verb}"),
    }
}

fn on_sigterm(handler: extern "C" fn(libc::c_int)) {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: both handlers only call what is safe in a signal handler.
    unsafe { sigaction(Signal::SIGTERM, &action) }.unwrap();
}

extern "C" fn log_it(_: libc::c_int) {
    // SAFETY: `write` may be called in a signal handler; the text lives for ever.
    unsafe { libc::write(1, TOLD_TO_END.as_ptr().cast(), TOLD_TO_END.len()) };
}

extern "C" fn log_it_and_exit(signal: libc::c_int) {
    log_it(signal);
    // SAFETY: `_exit` may be called in a signal handler.
    unsafe { libc::_exit(0) }
}

fn descriptors() -> BTreeMap<String, String> {
    let described = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
        // The directory being read is itself open.
        (!target.ends_with("/fd")).then(|| (entry.file_name().to_string_lossy().into_owned(), target))
    };
    fs::read_dir("/proc/self/fd").unwrap().filter_map(described).collect()
}

fn list(path: &str) -> String {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return errno(&error),
    };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}

/// Writes until the kernel refuses: how much there was room for, and why no more.
fn fill(path: &str) -> String {
    let mut file = File::create(path).unwrap();
    let mut written = 0;
    loop {
        match file.write(&[1; 4096]) {
            Ok(length) => written += length,
            Err(error) => return format!("{written} {}", errno(&error)),
        }
    }
}

/// Maps a file as the dynamic linker would to run it.
fn execute_from(path: &str) -> String {
    fs::write(path, [0; 4096]).unwrap();
    let file = File::open(path).unwrap();
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping at a place the kernel chooses; nothing uses it.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    let mapped = if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) };
    outcome(mapped)
}

/// Waits for a lock that nobody gives up, as a thread of a pool does for work; tells why it ended.
fn wait(milliseconds: i64) -> String {
    let lock = 0_u32;
    let timeout = libc::timespec { tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000 };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel reads the lock and the timeout, and both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, &raw const lock, operation, 0, &raw const timeout) };
    if result == -1 { errno(&io::Error::last_os_error()) } else { "woken".to_owned() }
}

/// How many threads there can be beside this one.
fn threads() -> usize {
    let park = || {
        loop {
            std::thread::park();
        }
    };
    std::iter::from_fn(|| std::thread::Builder::new().stack_size(64 << 10).spawn(park).ok()).count()
}

/// Uses more and more memory.
fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}

fn fault() -> ! {
    // SAFETY: none; the kernel ends the process, which is what was asked for.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(0) };
    unreachable!("nothing is mapped there")
}

/// Calls itself until there is no stack left.
#[expect(unconditional_recursion, reason = "that is what was asked for")]
fn overflow_stack(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    overflow_stack(depth + 1) + frame[0]
}

/// Writes this program's own code over with the same bytes, through the file that is its memory; then
/// as it can be written without a position.
fn rewrite_own_code() -> String {
    let mut file = match OpenOptions::new().write(true).open("/proc/self/mem") {
        Ok(file) => file,
        Err(error) => return errno(&error),
    };
    let code = rewrite_own_code as fn() -> String as *const u8;
    // SAFETY: the function being run is mapped, and 16 bytes of it are readable.
    let bytes = unsafe { std::slice::from_raw_parts(code, 16) };
    let positioned = outcome(std::os::unix::fs::FileExt::write_all_at(&file, bytes, code as u64));
    format!("{positioned} {}", outcome(file.write(bytes)))
}

/// Asks for the process's id at the entrance of 32-bit programs.
#[cfg(target_arch = "x86_64")]
fn interrupt_80() -> String {
    let answer: i64;
    // SAFETY: the call changes nothing but the register of its answer.
    unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer) };
    answer.to_string()
}

/// Makes a call with the given arguments, then such as are valid for none, and tells how the kernel
/// refused.
fn system_call(call: &str) -> String {
    let mut numbers = call.split(' ').map(|number| number.parse::<i64>().unwrap());
    let number = numbers.next().unwrap();
    let [a, b, c, d] = [(); 4].map(|()| numbers.next().unwrap_or(-1));
    // SAFETY: no call can do anything with these arguments: no address is valid, no descriptor open.
    let result = unsafe { libc::syscall(number, a, b, c, d, -1_i64, -1_i64) };
    if result == -1 { errno(&io::Error::last_os_error()) } else { "ok".to_owned() }
}
