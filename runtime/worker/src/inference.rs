//! The inference thread: one queue in front of one model.

mod answer;
mod cancellation;

use std::panic::AssertUnwindSafe;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use ort::environment::Environment;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::error::ApiError;
use crate::model::{LoadError, Model};
use crate::prepare::{Preparer, Verified};
use crate::source::ModelSource;
use crate::v2::Signature;
use crate::v2::encoding::Coding;
use crate::{Assignment, Work};

pub(crate) use answer::Answerer;
pub(crate) use cancellation::{CancelOnDrop, Cancellation};

/// The optimised model, in a directory that is this worker's alone.
const PREPARED_FILE: &str = "model.ort";

/// An inference request as it came off the wire.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) body: Bytes,
    pub(crate) header_length: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) accept_encoding: Option<String>,
}

/// An answer as it goes onto the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Bytes,
    pub(crate) header_length: Option<usize>,
    pub(crate) coding: Coding,
    /// How the prepared model was verified, where the body is one.
    pub(crate) verified: Option<Verified>,
}

/// A call on its way through the queue.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) cancellation: Cancellation,
    pub(crate) reply: oneshot::Sender<Result<Reply, ApiError>>,
    /// Held until the job is done, so that no more jobs than permits exist and the queue never fills.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What answers calls.
pub(crate) trait Engine {
    fn infer(&mut self, call: &Call, cancellation: &Cancellation) -> Result<Reply, ApiError>;
}

/// Why there is no inference thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the inference thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the inference thread ended before the model was loaded")]
    Ended,
}

/// A running inference thread and its model's signature.
#[derive(Debug)]
pub(crate) struct Inference {
    pub(crate) signature: Signature,
    /// When the model's bytes were at hand, and its session began to be built.
    pub(crate) model_opened: Instant,
    pub(crate) jobs: mpsc::Sender<Job>,
    /// Ends once every sender of jobs is gone. Join it before leaving `main`: the process's exit takes ONNX
    /// Runtime's globals down, and a session still in use would crash there.
    pub(crate) thread: JoinHandle<()>,
}

impl Inference {
    /// Starts the thread and waits until it has loaded the model. The session is built and used on one thread, so
    /// that ONNX Runtime's per-thread memory exists once.
    pub(crate) fn start(
        environment: Environment,
        assignment: &Assignment,
        sources: Vec<ModelSource>,
    ) -> Result<Self, StartError> {
        let (jobs, queue) = mpsc::channel(assignment.concurrency.get());
        let (loaded, verdict) = oneshot::channel();
        let assignment = assignment.clone();
        let thread = spawn(move || match Model::load(&environment, &assignment, sources) {
            Err(error) => drop(loaded.send(Err(error))),
            Ok(model) => {
                if loaded.send(Ok((model.signature().clone(), model.opened()))).is_ok() {
                    answer_with(environment, model, &assignment, queue);
                }
            }
        })?;
        let (signature, model_opened) = verdict.blocking_recv().map_err(|_| StartError::Ended)??;
        Ok(Self { signature, model_opened, jobs, thread })
    }

    /// Starts the thread on a model that was loaded before this process was forked, and waits until it runs: what a
    /// thread asks of the kernel to begin with, it may not be let ask later.
    pub(crate) fn of(environment: Environment, assignment: &Assignment, model: Model) -> Result<Self, StartError> {
        let (jobs, queue) = mpsc::channel(assignment.concurrency.get());
        let (signature, model_opened) = (model.signature().clone(), model.opened());
        let assignment = assignment.clone();
        let (begun, beginning) = oneshot::channel();
        let thread = spawn(move || {
            if begun.send(()).is_ok() {
                let mut answerer = Answerer::new(model, &assignment);
                work(&mut answerer, queue);
                // Freeing writes to every page that it is on, each of which would first be copied.
                std::mem::forget((answerer, environment));
            }
        })?;
        beginning.blocking_recv().map_err(|_| StartError::Ended)?;
        Ok(Self { signature, model_opened, jobs, thread })
    }
}

fn spawn(main: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new().name("inference".into()).spawn(main).map_err(StartError::Thread)
}

fn answer_with(environment: Environment, model: Model, assignment: &Assignment, queue: mpsc::Receiver<Job>) {
    match assignment.work {
        Work::Serve => {
            work(&mut Answerer::new(model, assignment), queue);
            drop(environment);
        }
        Work::Prepare => {
            let place = std::env::temp_dir().join(PREPARED_FILE);
            work(&mut Preparer::new(environment, model, assignment, place), queue);
        }
    }
}

/// Answers jobs in turn until nobody can send any more.
fn work(engine: &mut impl Engine, mut queue: mpsc::Receiver<Job>) {
    while let Some(Job { call, cancellation, reply, permit }) = queue.blocking_recv() {
        // Whoever waited may be gone; then there is nobody to compute for.
        if !reply.is_closed() {
            // Going on is sound: a panic can come from Rust frames only, and those hold nothing that outlives the
            // call. Ending the process instead would let one request take the others down.
            let answer = std::panic::catch_unwind(AssertUnwindSafe(|| engine.infer(&call, &cancellation)))
                .unwrap_or(Err(ApiError::Panicked));
            let _ = reply.send(answer);
        }
        drop(permit);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// Panics on the body `panic`, counts what it was asked to do otherwise.
    struct Fake(usize);

    impl Engine for Fake {
        fn infer(&mut self, call: &Call, _: &Cancellation) -> Result<Reply, ApiError> {
            assert_ne!(call.body, b"panic"[..], "told to panic");
            self.0 += 1;
            Ok(Reply { body: self.0.to_string().into(), header_length: None, coding: Coding::Identity, verified: None })
        }
    }

    fn job(permits: &Arc<Semaphore>, body: &'static [u8]) -> (Job, oneshot::Receiver<Result<Reply, ApiError>>) {
        let (reply, answer) = oneshot::channel();
        let call =
            Call { body: Bytes::from_static(body), header_length: None, content_encoding: None, accept_encoding: None };
        let permit = Arc::clone(permits).try_acquire_owned().unwrap();
        (Job { call, cancellation: Cancellation::new(), reply, permit }, answer)
    }

    #[test]
    fn a_panic_is_answered_and_the_next_call_works() {
        let permits = Arc::new(Semaphore::new(4));
        let (jobs, queue) = mpsc::channel(4);
        let (panicking, panicked) = job(&permits, b"panic");
        let (abandoned, _) = job(&permits, b"nobody waits");
        let (good, answer) = job(&permits, b"good");
        for job in [panicking, abandoned, good] {
            jobs.try_send(job).unwrap();
        }
        drop(jobs);
        thread::spawn(move || work(&mut Fake(0), queue)).join().unwrap();

        assert!(matches!(panicked.blocking_recv().unwrap(), Err(ApiError::Panicked)));
        assert_eq!(answer.blocking_recv().unwrap().unwrap().body, b"1"[..], "the abandoned call was not computed");
        assert_eq!(permits.available_permits(), 4);
    }
}
