//! What runs commands in a container: a process of its own, from before the image's program until the container ends.
//!
//! It is a copy of the daemon's privileged half, as the first process is until it becomes the image's. So it reads
//! nothing that a process of the image wrote but what a command printed, and none of them can open its memory or its
//! descriptors: it is not dumpable, and its memory belongs to the host's user namespace.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, ErrorKind, PipeReader, PipeWriter, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    libc,
    unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
        pidfd_open, set_child_subreaper, set_dumpable_behavior, setpgid, setsid, wait, waitpid,
    },
};

use super::{OUTPUT_BYTES_MAX, Order, Outcome, Report};
use crate::{
    channel::{Channel, ChannelError},
    defence::Defence,
    payload::become_program,
    spawner::child::close_all_but,
};

/// As `ps` shows it.
const NAME: &CStr = c"dormouse-probe";
/// What is read at a time of what a command prints, in bytes.
const READ_BYTES: usize = 4 << 10;

/// What may be run, and the socket by which it is asked for.
#[derive(Debug)]
pub(crate) struct CommandRunner {
    socket: OwnedFd,
    commands: Vec<Vec<String>>,
}

type Conversation = Channel<Report, Order>;

impl CommandRunner {
    pub(crate) fn new(socket: OwnedFd, commands: Vec<Vec<String>>) -> Self {
        Self { socket, commands }
    }

    /// Forks it from what becomes the image's first process.
    pub(crate) fn begin(&self, environment: &[String]) -> io::Result<()> {
        // Ours for both until the other executes something: nobody gets to see it in between.
        let behavior =
            if Defence::RunnerOutOfReach.stands() { DumpableBehavior::NotDumpable } else { DumpableBehavior::Dumpable };
        set_dumpable_behavior(behavior)?;
        match clone_unseen()? {
            Half::Image => Ok(()),
            Half::Runner => {
                // Nobody is left to tell: the node finds the socket closed.
                let _ = self.serve(environment);
                // SAFETY: `_exit` has no preconditions. Destructors and exit handlers are the other half's.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Until nobody can ask any more.
    fn serve(&self, environment: &[String]) -> io::Result<()> {
        // A signal to the group of the image's process is not for it.
        setsid()?;
        rustix::thread::set_name(NAME)?;
        // What commands leave behind would else be the image's, which may never wait for it.
        set_child_subreaper(Some(getpid()))?;
        close_all_but(&[self.socket.as_raw_fd()])?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        let mut conversation = Conversation::without_descriptors(self.socket.try_clone()?);
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => receive(&mut conversation)?,
            };
            next = self.run(order, &mut conversation, environment)?;
        }
    }

    /// Tells how it ended; or comes back with another order that came before.
    fn run(&self, order: Order, conversation: &mut Conversation, environment: &[String]) -> io::Result<Option<Order>> {
        let ended = match self.start(order, environment) {
            Err(error) => Ended::So(Outcome::NotStarted { reason: error.to_string() }, Vec::new()),
            Ok(mut command) => command.wait(conversation)?,
        };
        end_all_left();
        let (outcome, output) = match ended {
            Ended::So(outcome, output) => (outcome, output),
            Ended::ByAnother(order) => return Ok(Some(order)),
        };
        let output = String::from_utf8_lossy(&output).into_owned();
        match conversation.try_send(&Report { number: order.number, outcome, output }, &[]) {
            // Who reads nothing is not waiting for it.
            Ok(()) | Err(ChannelError::Full) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn start(&self, order: Order, environment: &[String]) -> io::Result<Command> {
        let words =
            self.commands.get(order.command).ok_or_else(|| io::Error::other("the container has no such command"))?;
        let (output, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let until = Instant::now().checked_add(Duration::from_millis(order.timeout_ms));
        // SAFETY: this process has one thread, so the child may allocate and call anything. It leaves by execve or `_exit`.
        match unsafe { fork() }? {
            ForkResult::Child => {
                become_command(words, environment, &writer);
                // SAFETY: as above.
                unsafe { libc::_exit(libc::EXIT_FAILURE) }
            }
            ForkResult::Parent { child } => {
                let pid =
                    Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("the kernel made no process"))?;
                Command::of(pid, output, until)
            }
        }
    }
}

/// Of one process that has become two.
enum Half {
    Image,
    Runner,
}

/// A fork that no `wait` of its parent's finds but one with `__WALL`: programs that wait until no child is left would
/// wait for this one.
fn clone_unseen() -> io::Result<Half> {
    let none: libc::c_ulong = 0;
    // SAFETY: this process has one thread. No stack and no place for a number are given, so that the child goes on here
    // with a copy of this process's memory, as after a fork. No flag is set, nor a signal: the low byte of the flags.
    match unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) } {
        0 => Ok(Half::Runner),
        1.. => Ok(Half::Image),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends whatever commands left running: nothing of one outlives it, nor is it left to the image to wait for. There is
/// nothing else that this process is the parent of.
fn end_all_left() {
    loop {
        // Where the kernel does not list them, those that ended are waited for, and others end with the container.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let _ = kill_process(child, Signal::KILL);
        }
        let options = if children.trim().is_empty() { WaitOptions::NOHANG } else { WaitOptions::empty() };
        // Children of one that ended are this process's from then on.
        if !wait(options).is_ok_and(|waited| waited.is_some()) {
            return;
        }
    }
}

/// Returns only where it could not.
fn become_command(words: &[String], environment: &[String], output: &PipeWriter) {
    if setpgid(None, None).is_ok() && dup2_stdout(output).and_then(|()| dup2_stderr(output)).is_ok() {
        let _ = become_program(words, environment);
    }
}

/// Waits for the next one.
fn receive(conversation: &mut Conversation) -> io::Result<Order> {
    loop {
        if let Some(order) = next_order(conversation)? {
            return Ok(order);
        }
        let mut socket = [PollFd::from_borrowed_fd(conversation.as_fd(), PollFlags::IN)];
        match poll(&mut socket, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn next_order(conversation: &mut Conversation) -> io::Result<Option<Order>> {
    let received = conversation.try_receive().map_err(io::Error::other)?;
    Ok(received.map(|(order, _)| order))
}

/// One that runs; it is killed where this is dropped before its end.
struct Command {
    pid: Pid,
    is_over: bool,
    /// Can be read once it has ended.
    end: OwnedFd,
    /// Until no process holds the other end.
    output: Option<PipeReader>,
    printed: Vec<u8>,
    /// None: for ever, for all that counts.
    until: Option<Instant>,
}

enum Ended {
    /// And what it printed.
    So(Outcome, Vec<u8>),
    /// There was another order before, and it was killed.
    ByAnother(Order),
}

impl Command {
    fn of(pid: Pid, output: PipeReader, until: Option<Instant>) -> io::Result<Self> {
        // It does the same itself; whoever is first.
        let _ = setpgid(Some(pid), None);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(end) => Ok(Self { pid, is_over: false, end, output: Some(output), printed: Vec::new(), until }),
            Err(error) => {
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(error.into())
            }
        }
    }

    fn wait(&mut self, conversation: &mut Conversation) -> io::Result<Ended> {
        loop {
            let left = self.left();
            let happened = self.poll(conversation, left.unwrap_or(Some(Duration::ZERO)))?;
            // One that ended in time is told so, however late this looks.
            if left.is_none() && !happened.is_over {
                self.kill();
                return Ok(self.ended(Outcome::TimedOut));
            }
            if happened.is_asked
                && let Some(order) = next_order(conversation)?
            {
                return Ok(Ended::ByAnother(order));
            }
            if happened.has_printed {
                self.read();
            }
            if happened.is_over {
                self.is_over = true;
                let status = waitpid(Some(self.pid), WaitOptions::empty())?.map(|(_, status)| status);
                // What it printed last.
                self.read();
                return Ok(self.ended(outcome(status)));
            }
        }
    }

    fn ended(&mut self, outcome: Outcome) -> Ended {
        Ended::So(outcome, std::mem::take(&mut self.printed))
    }

    /// None where the time is up.
    fn left(&self) -> Option<Option<Duration>> {
        let Some(until) = self.until else { return Some(None) };
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(Some(left))
    }

    fn poll(&self, conversation: &Conversation, left: Option<Duration>) -> io::Result<Happened> {
        let mut watched = vec![
            PollFd::from_borrowed_fd(conversation.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::IN),
        ];
        watched.extend(self.output.as_ref().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Happened::default()),
            Err(error) => return Err(error.into()),
        }
        let mut happened = watched.iter().map(|one| !one.revents().is_empty());
        let mut happened = || happened.next().unwrap_or_default();
        Ok(Happened { is_asked: happened(), is_over: happened(), has_printed: happened() })
    }

    /// Once: a command that prints without end is not read without end.
    fn read(&mut self) {
        let Some(output) = &mut self.output else { return };
        let mut bytes = [0; READ_BYTES];
        match output.read(&mut bytes) {
            Ok(0) => self.output = None,
            Ok(length) => {
                let room = OUTPUT_BYTES_MAX - self.printed.len();
                self.printed.extend(bytes.iter().take(length.min(room)));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.output = None,
        }
    }

    fn kill(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        // It may have left its group, and with it who else is in it.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Default)]
struct Happened {
    is_asked: bool,
    is_over: bool,
    has_printed: bool,
}

fn outcome(status: Option<WaitStatus>) -> Outcome {
    match status.and_then(WaitStatus::terminating_signal) {
        Some(signal) => Outcome::Killed { signal },
        None => Outcome::Exited(status.and_then(WaitStatus::exit_status).unwrap_or(libc::EXIT_FAILURE)),
    }
}
