//! System calls as an exploit would make them.

use std::io;

use dormouse_driver::worker::errno;
use nix::libc;

/// Space for whatever structure a call reads or fills.
static mut SPACE: [u64; 512] = [0; 512];

/// Makes one call: `NUMBER ARGUMENT…`, where `*` is the address of zeroed memory. Answers `ok` or how
/// the kernel refused.
pub(super) fn system_call(call: &str) -> String {
    let parse = |word: &str| match word {
        "*" => (&raw mut SPACE) as i64,
        number => number.parse::<i64>().unwrap(),
    };
    let mut numbers = call.split(' ').map(parse);
    let number = numbers.next().unwrap();
    let [a, b, c, d, e, f] = [(); 6].map(|()| numbers.next().unwrap_or(0));
    // SAFETY: whatever the call does, it does to this process, which exists to be harmed. The memory
    // it is shown is large enough for every structure of the calls that are asked for.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { errno(&io::Error::last_os_error()) } else { "ok".to_owned() }
}
