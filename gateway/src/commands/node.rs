use std::os::fd::AsFd;

use clap::Args;

use super::{CommandError, log_to_stderr};
use crate::node;

/// More threads than this move bytes no faster beside the models that compute.
const THREADS_MAX: usize = 4;

/// Threads that move bytes: half as many as processors. A thread that registers a timer while another one waits for I/O
/// wakes that, several times in a request, so two of which one would do cost a wake 0.5 ms.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2).min(THREADS_MAX))
}

/// The unprivileged process; the daemon starts it
#[derive(Debug, Args)]
pub(super) struct Node {}

impl Node {
    pub(super) fn run(self) -> Result<(), CommandError> {
        log_to_stderr();
        // stdin is the channel to the spawner.
        let channel = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| CommandError::Read { what: "the channel to the spawner".to_owned(), source })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads())
            .thread_name("node")
            .enable_all()
            .build()
            .map_err(CommandError::Runtime)?;
        let served = runtime.block_on(node::run(channel));
        // Whatever still copies or waits has nobody to tell any more.
        runtime.shutdown_background();
        Ok(served?)
    }
}
