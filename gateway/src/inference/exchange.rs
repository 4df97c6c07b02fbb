//! One request and its answer between a client and one replica.

use std::{sync::Arc, time::Duration};

use dormouse_spec::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    InferenceError,
    error::UnsentCause,
    grant::Grant,
    headers, liveness,
    pool::{Connection, Pool},
    reply::Exchange,
    request_body::{Progress, RequestBody},
};

/// A connection usually breaks a moment before the cause is known: so long it is waited for.
const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// Why an exchange gave no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The replica got no byte of it, so that another one may be asked.
    Unsent(Box<(Request<RequestBody>, UnsentCause)>),
    Failed(InferenceError),
}

impl From<InferenceError> for ExchangeError {
    fn from(error: InferenceError) -> Self {
        Self::Failed(error)
    }
}

/// Sends `request` and waits for the head of the answer; its body is still to come.
pub(super) async fn exchange(
    pool: &Arc<Pool>,
    mut grant: Grant,
    request: Request<RequestBody>,
    deadline: Instant,
    body_bytes_max: u64,
) -> Result<(Response<Incoming>, Exchange), ExchangeError> {
    let mut connection = match connect(pool, &mut grant, deadline).await? {
        Ok(connection) => connection,
        Err(cause) => return Err(unsent(request, cause)),
    };
    let progress = request.body().progress();
    let sent = connection.sender.try_send_request(request);
    let answered = tokio::select! {
        biased;
        answered = sent => answered,
        cause = &mut grant.lost => {
            pool.forget(&grant.replica);
            return Err(InferenceError::ReplicaDied(cause).into());
        }
        () = sleep_until(deadline) => {
            liveness::look(grant);
            return Err(InferenceError::DeadlineInInference.into());
        }
    };
    match answered {
        Ok(mut response) => {
            if let Some(tell_answered) = grant.tell_answered.take() {
                tell_answered();
            }
            headers::to_client(response.headers_mut());
            Ok((response, Exchange { grant, connection, pool: Arc::clone(pool), progress }))
        }
        Err(mut error) => Err(match error.take_message() {
            Some(request) => unsent(request, UnsentCause::Handshake(error.into_error())),
            None => failure(error.into_error(), &progress, &mut grant, body_bytes_max).await.into(),
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
        connected = pool.connect(&grant.replica, &grant.address) => Ok(connected),
        () = sleep_until(deadline) => Err(InferenceError::DeadlineInInference),
    }
}

fn unsent(request: Request<RequestBody>, cause: UnsentCause) -> ExchangeError {
    ExchangeError::Unsent(Box::new((request, cause)))
}

/// Whose fault it was that a request broke on its way: the client's, or the replica's.
async fn failure(error: hyper::Error, progress: &Progress, grant: &mut Grant, body_bytes_max: u64) -> InferenceError {
    if progress.is_over_limit() {
        return InferenceError::BodyTooLarge { limit: Bytes::new(body_bytes_max) };
    }
    if progress.is_too_slow() {
        return InferenceError::BodyTooSlow;
    }
    if progress.is_broken() {
        return InferenceError::BodyBroken;
    }
    match timeout(CAUSE_WAIT, &mut grant.lost).await {
        Ok(cause) => InferenceError::ReplicaDied(cause),
        Err(_) => InferenceError::ReplicaBroke(error),
    }
}
