//! One request and its answer between a client and one replica.

use std::{sync::Arc, time::Duration};

use dormouse_controller::LossCause;
use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, UPGRADE},
};
use hyper::{
    body::{Body, Incoming},
    client::conn::TrySendError,
};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

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

/// A connection usually breaks a moment before the cause is known: so long it is waited for. The end of a worker that
/// was forked is told by way of its template, for which the spawner waits for three seconds.
const CAUSE_WAIT: Duration = Duration::from_secs(5);
/// The same of an image, whose server may break off a connection and live on.
pub(super) const CAUSE_WAIT_OF_IMAGE: Duration = Duration::from_secs(2);
/// So long a server may take until it listens anew, as where another program starts it again.
const LISTENS_AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// How often a request is given to a replica that gets no byte of it; once more where the last one is known to be gone.
const ATTEMPTS_MAX: u32 = 2;

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
    /// Nothing listens in it any more, and it gets no other request: the next replica is another one.
    is_deaf: bool,
    attempts: u32,
}

impl Unsent {
    /// For those who try it again, unless that was the last time.
    pub(super) fn tried(&self) -> Option<Tried> {
        let is_gone = self.is_deaf || matches!(self.cause, UnsentCause::Died(_));
        let is_last = self.attempts >= ATTEMPTS_MAX + u32::from(is_gone);
        let refused_by = self.cause.is_refusal().then(|| self.replica.clone());
        (!is_last).then_some(Tried { refused_by, attempts: self.attempts })
    }
}

/// What became of the same request before.
#[derive(Debug)]
pub(super) struct Tried {
    /// The replica in which nothing listened.
    refused_by: Option<ReplicaId>,
    attempts: u32,
}

impl From<Unsent> for ExchangeError {
    fn from(unsent: Unsent) -> Self {
        Self::Unsent(Box::new(unsent))
    }
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
    // Who tries again does so on a connection that nobody is closing.
    let reuse = tried.is_none();
    let attempts = tried.as_ref().map_or(0, |tried| tried.attempts) + 1;
    let connection = match connect(pool, &mut grant, deadline, reuse).await? {
        Ok(connection) => connection,
        Err(cause) => {
            let mut unsent = Unsent { request, cause, replica: grant.replica.clone(), is_deaf: false, attempts };
            let refused_before = tried.and_then(|tried| tried.refused_by).is_some_and(|by| by == unsent.replica);
            if unsent.cause.is_refusal() {
                look_again(pool, grant, &mut unsent, refused_before, deadline).await;
            }
            return Err(unsent.into());
        }
    };
    let progress = request.body().progress();
    let asks_upgrade = request.headers().contains_key(UPGRADE);
    let (answered, connection) = match ask(pool, &mut grant, connection, request, deadline).await {
        Ok(asked) => asked,
        Err(interruption) => return Err(interruption.end(grant).into()),
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
            Some(request) => {
                let cause = UnsentCause::Handshake(error.into_error());
                Unsent { request, cause, replica: grant.replica.clone(), is_deaf: false, attempts }.into()
            }
            None => {
                let broken = Broken { error: error.into_error(), of_stream: connection.outlives_its_exchanges() };
                failure(broken, &progress, &mut grant, deadline, body_bytes_max).await.into()
            }
        }),
    }
}

/// After it was sent a request that was lost is not sent again.
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// Why an answer is not waited for any longer.
enum Interruption {
    Lost(LossCause),
    Deadline,
}

impl Interruption {
    fn end(self, grant: Grant) -> InferenceError {
        match self {
            Self::Lost(cause) => InferenceError::ReplicaDied(cause),
            Self::Deadline => {
                let payload = grant.payload;
                liveness::look(grant);
                deadline_passed(payload)
            }
        }
    }
}

type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Sends a request and waits for the head of its answer: on a new connection where the replica closes a kept one in the
/// moment in which it is used again, if the request is one that does no harm twice.
async fn ask(
    pool: &Arc<Pool>,
    grant: &mut Grant,
    mut connection: Connection,
    request: Request<RequestBody>,
    deadline: Instant,
) -> Result<(Answered, Connection), Interruption> {
    let spare = if connection.is_used() { once_more(&request) } else { None };
    let sent = Instant::now();
    let answered = answer(pool, grant, &mut connection, request, deadline).await?;
    // Later it is the request that the replica closed it for.
    let is_lost = matches!(&answered, Err(error) if error.message().is_none())
        && connection.was_closed_unanswered()
        && sent.elapsed() < REPEATED_WITHIN;
    let Some(spare) = spare.filter(|_| is_lost) else { return Ok((answered, connection)) };
    match connect(pool, grant, deadline, false).await {
        Ok(Ok(mut fresh)) => Ok((answer(pool, grant, &mut fresh, spare, deadline).await?, fresh)),
        Ok(Err(UnsentCause::Died(cause))) => Err(Interruption::Lost(cause)),
        // It closed more than this connection: what became of that one is told.
        Ok(Err(_)) => Ok((answered, connection)),
        Err(_) => Err(Interruption::Deadline),
    }
}

/// The same request, where it may be sent once more without harm (RFC 9110, 9.2.2).
fn once_more(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = request.method().is_idempotent().then(|| request.body().empty_again()).flatten()?;
    let mut again = Request::new(body);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    *again.version_mut() = request.version();
    Some(again)
}

async fn answer(
    pool: &Pool,
    grant: &mut Grant,
    connection: &mut Connection,
    request: Request<RequestBody>,
    deadline: Instant,
) -> Result<Answered, Interruption> {
    tokio::select! {
        biased;
        answered = connection.send(request) => Ok(answered),
        cause = &mut grant.lost => {
            pool.forget(&grant.replica);
            Err(Interruption::Lost(cause))
        }
        () = sleep_until(deadline) => Err(Interruption::Deadline),
    }
}

async fn connect(
    pool: &Arc<Pool>,
    grant: &mut Grant,
    deadline: Instant,
    reuse: bool,
) -> Result<Result<Connection, UnsentCause>, InferenceError> {
    let (replica, address, protocol) = (&grant.replica, &grant.address, grant.payload.protocol());
    let connecting = async {
        match reuse {
            true => pool.connect(replica, address, protocol).await,
            false => pool.connect_anew(replica, address, protocol).await,
        }
    };
    tokio::select! {
        biased;
        cause = &mut grant.lost => {
            pool.forget(&grant.replica);
            Ok(Err(UnsentCause::Died(cause)))
        }
        connected = connecting => Ok(connected),
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

/// Nothing listens where the replica was to. It may have died, which is known a moment after its sockets close; or its
/// server is started anew; or, if it is so for the second time, nothing of it listens any more, whatever else runs in it.
async fn look_again(pool: &Pool, mut grant: Grant, unsent: &mut Unsent, refused_before: bool, deadline: Instant) {
    let is_image = grant.payload.is_image();
    if refused_before {
        if is_image {
            (grant.tell_deaf)();
        }
        unsent.is_deaf = is_image;
        return;
    }
    let wait = if is_image { LISTENS_AGAIN_WITHIN } else { CAUSE_WAIT };
    // The second look is within the deadline too.
    let left = deadline.saturating_duration_since(Instant::now());
    if let Ok(cause) = timeout(wait.min(left / 2), &mut grant.lost).await {
        pool.forget(&grant.replica);
        unsent.cause = UnsentCause::Died(cause);
    }
}

/// An exchange that broke off.
struct Broken {
    error: hyper::Error,
    /// The connection is as it was: the replica lives, and broke off this one alone.
    of_stream: bool,
}

/// Whose fault it was that a request broke on its way: the client's, or the replica's.
async fn failure(
    broken: Broken,
    progress: &Progress,
    grant: &mut Grant,
    deadline: Instant,
    body_bytes_max: u64,
) -> InferenceError {
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
    let wait = if grant.payload.is_image() { CAUSE_WAIT_OF_IMAGE } else { CAUSE_WAIT };
    match timeout_at(deadline.min(Instant::now() + wait), &mut grant.lost).await {
        Ok(cause) => InferenceError::ReplicaDied(cause),
        Err(_) => InferenceError::ReplicaBroke(error),
    }
}
