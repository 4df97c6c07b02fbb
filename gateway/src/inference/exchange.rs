//! One request and its answer between a client and one replica.

use std::{sync::Arc, time::Duration};

use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, UPGRADE},
};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    InferenceError,
    connection::Connection,
    end_to_end::Kept,
    error::UnsentCause,
    grant::{Grant, Payload},
    headers, liveness,
    pool::Pool,
    reply::Exchange,
    request_body::{Progress, RequestBody},
};

/// A connection usually breaks a moment before the cause is known: so long it is waited for.
pub(super) const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// Why an exchange gave no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The replica got no byte of it, so that another one may be asked.
    Unsent(Box<Unsent>),
    Failed(InferenceError),
}

/// A request that was not sent.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) request: Request<RequestBody>,
    pub(super) cause: UnsentCause,
    replica: ReplicaId,
}

impl Unsent {
    /// For those who try it again.
    pub(super) fn tried(&self) -> Tried {
        Tried { refused_by: self.cause.is_refusal().then(|| self.replica.clone()) }
    }
}

/// What became of the same request before.
#[derive(Debug)]
pub(super) struct Tried {
    /// The replica in which nothing listened.
    refused_by: Option<ReplicaId>,
}

impl From<InferenceError> for ExchangeError {
    fn from(error: InferenceError) -> Self {
        Self::Failed(error)
    }
}

/// Sends `request`, which was perhaps `tried` before, and waits for the head of the answer; its body is still to come.
pub(super) async fn exchange(
    pool: &Arc<Pool>,
    mut grant: Grant,
    request: Request<RequestBody>,
    deadline: Instant,
    body_bytes_max: u64,
    tried: Option<Tried>,
) -> Result<(Response<Incoming>, Exchange), ExchangeError> {
    let mut connection = match connect(pool, &mut grant, deadline).await? {
        Ok(connection) => connection,
        Err(cause) => {
            // On its loopback twice is proof that nothing listens any more, whatever else runs in it.
            let refused_before = tried.and_then(|tried| tried.refused_by).is_some_and(|by| by == grant.replica);
            if refused_before && grant.payload.is_image() && cause.is_refusal() {
                (grant.tell_deaf)();
            }
            return Err(unsent(request, cause, &grant.replica));
        }
    };
    let progress = request.body().progress();
    let asks_upgrade = request.headers().contains_key(UPGRADE);
    let sent = connection.send(request);
    let answered = tokio::select! {
        biased;
        answered = sent => answered,
        cause = &mut grant.lost => {
            pool.forget(&grant.replica);
            return Err(InferenceError::ReplicaDied(cause).into());
        }
        () = sleep_until(deadline) => {
            let payload = grant.payload;
            liveness::look(grant);
            return Err(deadline_passed(payload).into());
        }
    };
    match answered {
        Ok(mut response) => {
            let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if is_upgrade && !(asks_upgrade && response.headers().contains_key(UPGRADE)) {
                return Err(InferenceError::SwitchedUnasked.into());
            }
            if let Some(tell_answered) = grant.tell_answered.take() {
                tell_answered();
            }
            pass_back(&mut response, grant.payload, is_upgrade);
            Ok((response, Exchange { grant, connection, pool: Arc::clone(pool), progress }))
        }
        Err(mut error) => Err(match error.take_message() {
            Some(request) => unsent(request, UnsentCause::Handshake(error.into_error()), &grant.replica),
            None => {
                let broken = Broken { error: error.into_error(), of_stream: connection.outlives_its_exchanges() };
                failure(broken, &progress, &mut grant, body_bytes_max).await.into()
            }
        }),
    }
}

async fn connect(
    pool: &Arc<Pool>,
    grant: &mut Grant,
    deadline: Instant,
) -> Result<Result<Connection, UnsentCause>, InferenceError> {
    tokio::select! {
        biased;
        cause = &mut grant.lost => {
            pool.forget(&grant.replica);
            Ok(Err(UnsentCause::Died(cause)))
        }
        connected = pool.connect(&grant.replica, &grant.address, grant.payload.protocol()) => Ok(connected),
        () = sleep_until(deadline) => Err(deadline_passed(grant.payload)),
    }
}

fn deadline_passed(payload: Payload) -> InferenceError {
    match payload {
        Payload::Model => InferenceError::DeadlineInInference,
        Payload::Image(_) => InferenceError::DeadlineInReplica,
    }
}

/// Makes a replica's answer one to a client, over whatever version of HTTP it speaks.
fn pass_back(response: &mut Response<Incoming>, payload: Payload, is_upgrade: bool) {
    let kept = payload.is_image().then(|| Kept::of_answer(response.headers(), is_upgrade));
    headers::to_client(response.headers_mut());
    if let Some(kept) = kept {
        kept.put(response.headers_mut());
    }
    *response.version_mut() = Version::HTTP_11;
    // An answer without a body may tell the length of another one. Of any other, its length is that of the body
    // as it was read, whatever else was said.
    if !response.body().is_end_stream() {
        match response.body().size_hint().exact() {
            Some(length) => response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => response.headers_mut().remove(CONTENT_LENGTH),
        };
    }
}

fn unsent(request: Request<RequestBody>, cause: UnsentCause, replica: &ReplicaId) -> ExchangeError {
    ExchangeError::Unsent(Box::new(Unsent { request, cause, replica: replica.clone() }))
}

/// An exchange that broke off.
struct Broken {
    error: hyper::Error,
    /// The connection is as it was: the replica lives, and broke off this one alone.
    of_stream: bool,
}

/// Whose fault it was that a request broke on its way: the client's, or the replica's.
async fn failure(broken: Broken, progress: &Progress, grant: &mut Grant, body_bytes_max: u64) -> InferenceError {
    if progress.is_over_limit() {
        return InferenceError::BodyTooLarge { limit: Bytes::new(body_bytes_max) };
    }
    if progress.is_too_slow() {
        return InferenceError::BodyTooSlow;
    }
    if progress.is_broken() {
        return InferenceError::BodyBroken;
    }
    let Broken { error, of_stream } = broken;
    // It said something that is no HTTP, and need not die of it.
    if error.is_parse() || of_stream {
        return InferenceError::ReplicaBroke(error);
    }
    match timeout(CAUSE_WAIT, &mut grant.lost).await {
        Ok(cause) => InferenceError::ReplicaDied(cause),
        Err(_) => InferenceError::ReplicaBroke(error),
    }
}
