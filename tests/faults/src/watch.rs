use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use libseccomp::{
    ScmpAction, ScmpFd, ScmpFilterContext, ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, ScmpSyscall,
    error::SeccompError,
};
use rustix::{
    io::Errno,
    process::{Signal, getpid, kill_process},
};

use crate::call::{Asked, Call, watched};

/// What happens at the operation that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    /// Half of a write, then death.
    Tear,
    Answer(Errno),
}

/// What is watched for, and what was seen.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) place: PathBuf,
    pub(crate) fault: Fault,
    /// Which of the operations that the fault can befall, from 0.
    pub(crate) at: usize,
    /// Where the operation is named before the process dies.
    pub(crate) report: PathBuf,
}

#[derive(Debug, Default)]
struct Seen {
    plan: Option<Plan>,
    calls: Vec<Call>,
    eligible: usize,
    struck: Option<Call>,
}

/// The file operations of the thread that made this, and of those that it starts.
#[derive(Debug)]
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
}

/// What one operation asked the kernel for.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) calls: Vec<Call>,
    /// The one that the fault befell.
    pub(crate) struck: Option<Call>,
}

impl Watch {
    /// Puts this thread under watch for the rest of its life.
    pub(crate) fn begin() -> Self {
        let watch = Self { seen: Arc::default() };
        let seen = Arc::clone(&watch.seen);
        let (notifier, wait) = mpsc::channel();
        // Started before the filter is there, so it is not watched itself.
        thread::spawn(move || answer_all(wait.recv().unwrap(), &seen));
        notifier.send(load_filter().expect("a kernel and a libseccomp with user notification")).unwrap();
        watch
    }

    /// Does `work` with the fault that `plan` says.
    pub(crate) fn during<T>(&self, plan: Plan, work: impl FnOnce() -> T) -> (T, Watched) {
        *self.lock() = Seen { plan: Some(plan), ..Seen::default() };
        let result = work();
        let Seen { calls, struck, .. } = std::mem::take(&mut *self.lock());
        (result, Watched { calls, struck })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load_filter() -> Result<ScmpFd, SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    for name in watched() {
        // Not every architecture has all of them, nor does every libseccomp know the newest.
        if let Ok(call) = ScmpSyscall::from_name(name) {
            filter.add_rule(ScmpAction::Notify, call)?;
        }
    }
    filter.load()?;
    filter.get_notify_fd()
}

fn answer_all(notifier: ScmpFd, seen: &Mutex<Seen>) {
    while let Ok(request) = ScmpNotifReq::receive(notifier) {
        let answer = match seen.lock().unwrap_or_else(PoisonError::into_inner).judge(&request) {
            None => ScmpNotifResp::new_continue(request.id, ScmpNotifRespFlags::empty()),
            Some(error) => ScmpNotifResp::new_error(request.id, -error.raw_os_error(), ScmpNotifRespFlags::empty()),
        };
        answer.respond(notifier).expect("the thread waits for its answer");
    }
}

impl Seen {
    /// The error to answer with; where death was chosen, this does not come back.
    fn judge(&mut self, request: &ScmpNotifReq) -> Option<Errno> {
        let plan = self.plan.as_ref()?;
        let asked = Asked::read(request, &plan.place)?;
        let is_eligible = match plan.fault {
            Fault::Kill => asked.can_change(),
            Fault::Tear => asked.is_write(),
            Fault::Answer(_) => true,
        };
        let strikes = is_eligible && self.eligible == plan.at;
        self.eligible += usize::from(is_eligible);
        self.calls.push(asked.call.clone());
        if !strikes {
            return None;
        }
        self.struck = Some(asked.call.clone());
        match plan.fault {
            Fault::Answer(error) => Some(error),
            Fault::Tear => {
                asked.write_half().unwrap();
                die(plan, &asked.call)
            }
            Fault::Kill => die(plan, &asked.call),
        }
    }
}

fn die(plan: &Plan, at: &Call) -> ! {
    fs::write(&plan.report, at.to_string()).unwrap();
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        thread::park();
    }
}
