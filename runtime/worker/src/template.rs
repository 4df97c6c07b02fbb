//! A template: it has loaded a model on its one thread, and forks servers of it.
//!
//! It reads no request and no byte of a client. A server does, so it is confined once more before its first
//! connection: away from the template's channel, into a control group of its own, and by a filter of system calls
//! under which it can make, signal and look into no process and open no file.
//!
//! A server may be forked before anybody wants one. It then waits where it is, with all done that takes no thread.

mod filter;
mod fork;
mod servers;

use std::error::Error;
use std::time::Instant;

use ort::environment::Environment;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::Assignment;
use crate::control::{ControlChannel, Handover, Loading, Order};
use crate::defence::Defence;
use crate::error::chain;
use crate::inference::Inference;
use crate::mapping::FileMappings;
use crate::model::{LoadError, Model};
use crate::serve::{self, Listener};
use crate::source::ModelSource;
use filter::{FilterError, ServerFilter};
use fork::{ForkError, Side};
use servers::Servers;

/// Why a worker cannot be a template.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("a template has one thread, and the assignment asks for {0} (intra_op_threads)")]
    IntraOpThreads(usize),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("it cannot fork")]
    Fork(#[from] ForkError),
    #[error("the filter of its servers cannot be made")]
    Filter(#[from] FilterError),
    #[error("what it has mapped cannot be read")]
    Mappings(#[source] std::io::Error),
    #[error("its memory cannot be shut to its servers")]
    Dumpable(#[source] rustix::io::Errno),
}

/// Why a server does not come to serve.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("the server cannot enter its control groups")]
    Enter(#[source] std::io::Error),
    #[error("the server's descriptors cannot be put in the place of the template's")]
    Descriptors(#[source] nix::Error),
}

/// A model that servers can be forked of.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment,
    assignment: Assignment,
    model: Model,
    filter: ServerFilter,
    files: FileMappings,
}

/// Forks as it is ordered to. Returns in the template when there will be no order any more, and in each server when it
/// has served.
pub(crate) fn run(template: Template, control: ControlChannel) -> Result<(), Box<dyn Error>> {
    let server = until_server(&control)?;
    // A server must not have its template's channel. Where it also is, on descriptor 0, the server's own comes.
    if Defence::OwnChannel.stands() {
        drop(control);
    }
    match server {
        None => Ok(()),
        Some(own) => template.be_a_server(&own),
    }
}

/// In a server, its own channel. `None` in the template, at the end of its channel.
fn until_server(control: &ControlChannel) -> Result<Option<ControlChannel>, Box<dyn Error>> {
    let mut servers = Servers::default();
    while let Some(order) = control.order().inspect_err(|error| drop(control.failed(&chain(error))))? {
        match order {
            Order::Fork { server, control: own } => match servers.fork(server) {
                Ok(Side::Server) => return Ok(Some(own)),
                Ok(Side::Template) => {}
                // Whoever waits for the server listens there.
                Err(error) => drop(own.failed(&chain(&error))),
            },
            Order::Reap { server } => control.reaped(server, servers.reap(server)?)?,
        }
    }
    Ok(None)
}

impl Template {
    pub(crate) fn load(
        environment: Environment,
        assignment: Assignment,
        sources: Vec<ModelSource>,
    ) -> Result<Self, TemplateError> {
        let threads = assignment.intra_op_threads.get();
        if threads != 1 {
            return Err(TemplateError::IntraOpThreads(threads));
        }
        let filter = ServerFilter::compile()?;
        let model = Model::load(&environment, &assignment, sources)?;
        // What cannot fork is better told now than when the first server is waited for.
        fork::check()?;
        let files = FileMappings::of_this_process().map_err(TemplateError::Mappings)?;
        // Its servers have the same user. No capability in any process of the container, so this shuts /proc/PID/mem,
        // ptrace and process_vm_writev between all of them. It is inherited.
        if Defence::NotDumpable.stands() {
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(TemplateError::Dumpable)?;
        }
        Ok(Self { environment, assignment, model, filter, files })
    }

    /// When the model's bytes were at hand.
    pub(crate) fn model_opened(&self) -> Instant {
        self.model.opened()
    }

    /// The rest of this process's life, after it was forked.
    fn be_a_server(self, control: &ControlChannel) -> Result<(), Box<dyn Error>> {
        let mut is_ready = false;
        let served = self.serve(control, &mut is_ready);
        if let (false, Err(error)) = (is_ready, &served) {
            // As in a worker of its own: whoever waits is told first, and the caller logs it.
            drop(control.failed(&chain(error.as_ref())));
        }
        served?;
        fork::leave()
    }

    fn serve(self, control: &ControlChannel, is_ready: &mut bool) -> Result<(), Box<dyn Error>> {
        control.become_stdin().map_err(ServerError::Descriptors)?;
        let runtime = serve::runtime()?;
        self.files.map_pages();
        let Some(Handover { listener, log, entrances }) = control.handover()? else { return Ok(()) };
        let ordered = Instant::now();
        // First, so that all it uses from here on is its own.
        if Defence::OwnGroup.stands() {
            entrances.enter().map_err(ServerError::Enter)?;
        }
        nix::unistd::dup2_stdout(&log).map_err(ServerError::Descriptors)?;
        nix::unistd::dup2_stderr(&log).map_err(ServerError::Descriptors)?;
        drop(log);
        let Self { environment, assignment, model, filter, .. } = self;
        let inference = Inference::of(environment, &assignment, model)?;
        serve::serve(&runtime, Listener::Unix(listener), inference, &assignment, || {
            // Every thread is there, and no byte of a client.
            filter.load()?;
            *is_ready = true;
            Ok(control.ready(&Loading { session: ordered.elapsed(), ..Loading::default() })?)
        })?;
        Ok(())
    }
}
