//! A request from its admission to the head of its answer, whatever it is that answers.

use std::sync::Arc;

use bytes::Bytes as Octets;
use dormouse_controller::{EndpointView, Expectation};
use dormouse_spec::{AppProtocol, Bytes, EndpointName};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use super::{
    Gateway, InferenceError,
    end_to_end::{self, Kept},
    exchange::{ExchangeError, Tried, exchange},
    grant::{Grant, Payload},
    headers,
    infer::Caller,
    metrics::Observation,
    pace::PaceLimit,
    places::UnderWay,
    reply::{Exchange, Reply},
    request_body::{RequestBody, RequestBodyError},
    service::Answer,
    tunnel::Tunnel,
};
use crate::defence::Defence;

/// So much of a body, or all of it, is here before its request is given a replica. Most bodies are
/// smaller; of a larger one the rest streams, and has to come at a least rate.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// An answer that began, and all that is held until its end.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) exchange: Exchange,
    pub(super) under_way: UnderWay,
    pub(super) deadline: Instant,
    /// The client's side, where it asked to switch protocols.
    pub(super) upgrade: Option<OnUpgrade>,
}

impl Gateway {
    /// # Errors
    /// See [`InferenceError`]; nothing was answered then.
    pub(super) async fn send(
        &self,
        view: &EndpointView,
        mut request: Request<RequestBody>,
        caller: &Caller,
        mut under_way: UnderWay,
    ) -> Result<Answered, InferenceError> {
        if *self.draining.borrow() {
            return Err(InferenceError::Draining);
        }
        let deadline = Instant::now() + view.endpoint.timeout;
        let body_bytes_max = self.settings.body_bytes_max;
        if request.body().is_declared_too_large() {
            return Err(InferenceError::BodyTooLarge { limit: Bytes::new(body_bytes_max) });
        }
        let payload = match &view.image {
            Some(image) => Payload::Image(image.app_protocol),
            None if view.is_image => Payload::Image(AppProtocol::Http1),
            None => Payload::Model,
        };
        let is_conversation = is_conversation(&request, payload);
        let mut expectation = if is_conversation {
            request.body_mut().has_no_pace();
            None
        } else {
            self.read_ahead(&view.endpoint.name, request.body_mut(), deadline).await?
        };
        under_way.is_ours();
        let upgrade = prepare(&mut request, caller, payload);
        if upgrade.is_some() && payload.protocol() == AppProtocol::H2c {
            return Err(InferenceError::NotServed("an upgrade of a connection to an image that speaks HTTP/2"));
        }
        let mut tried: Option<Tried> = None;
        loop {
            let (name, until) = (&view.endpoint.name, deadline.into_std());
            let lease = match expectation.take() {
                Some(expectation) => self.controller.acquire_expected(name, until, expectation).await?,
                None => self.controller.acquire(name, until).await?,
            };
            if is_conversation {
                // From here on nobody knows who waits for whom.
                under_way.is_theirs();
            }
            match exchange(&self.pool, Grant::from(lease), request, deadline, body_bytes_max, tried).await {
                Ok((response, exchange)) => return Ok(Answered { response, exchange, under_way, deadline, upgrade }),
                Err(ExchangeError::Failed(error)) => return Err(error),
                Err(ExchangeError::Unsent(unsent)) => {
                    tried = unsent.tried();
                    if tried.is_none() {
                        return Err(InferenceError::Unreachable(unsent.cause));
                    }
                    request = unsent.request;
                }
            }
        }
    }

    /// Waits for the beginning of a body: a replica is not for those who have yet to send something. But it
    /// begins to wake for them.
    async fn read_ahead(
        &self,
        endpoint: &EndpointName,
        body: &mut RequestBody,
        deadline: Instant,
    ) -> Result<Option<Expectation>, InferenceError> {
        if body.is_end_stream() || !Defence::BodyReadAhead.stands() {
            return Ok(None);
        }
        let until = deadline.min(Instant::now() + self.settings.client_wait);
        let expectation = self.controller.expect(endpoint, until.into_std());
        let place = self.bodies_read_ahead.take().await;
        let read = tokio::select! {
            biased;
            read = body.read_ahead(READ_AHEAD_BYTES, deadline) => read,
            () = place.called_back() => Err(RequestBodyError::TooSlow),
        };
        read.map(|()| expectation).map_err(|error| match error {
            RequestBodyError::OverLimit => {
                InferenceError::BodyTooLarge { limit: Bytes::new(self.settings.body_bytes_max) }
            }
            RequestBodyError::TooSlow => InferenceError::BodyTooSlow,
            RequestBodyError::Client(_) | RequestBodyError::Reset => InferenceError::BodyBroken,
        })
    }
}

/// Whether both sides may speak in turns, as in a stream of gRPC: then nobody knows who waits for whom, and its client
/// keeps its place in a replica as one with a WebSocket does, until the endpoint's timeout.
fn is_conversation(request: &Request<RequestBody>, payload: Payload) -> bool {
    payload.protocol() == AppProtocol::H2c
        && request.version() == Version::HTTP_2
        && request.body().size_hint().exact().is_none()
}

/// Makes a client's request one to a replica: over HTTP/1.1, whatever it came by. Its method, path and query
/// stay. Returns the client's side of the connection where it is to be switched to another protocol.
pub(super) fn prepare(request: &mut Request<RequestBody>, caller: &Caller, payload: Payload) -> Option<OnUpgrade> {
    let kept = payload.is_image().then(|| Kept::of_request(request));
    let upgrade = kept.as_ref().is_some_and(Kept::asks_upgrade).then(|| hyper::upgrade::on(&mut *request));
    // What the server left there is about the client's connection.
    request.extensions_mut().clear();
    let uri = request.uri().clone();
    headers::to_replica(request.headers_mut(), &uri, caller.address, &caller.request_id);
    if let Some(kept) = kept {
        headers::to_image(request.headers_mut(), caller.address);
        kept.put(request.headers_mut());
        end_to_end::tell_body(request);
    }
    *request.uri_mut() = uri.path_and_query().cloned().map_or(uri, Into::into);
    *request.version_mut() = Version::HTTP_11;
    upgrade
}

impl Answered {
    /// What the client gets. It is watched to its end.
    pub(super) fn deliver(self, mut observation: Observation, caller: &Caller, pace: PaceLimit) -> Answer {
        let Self { mut response, exchange, under_way, deadline, upgrade } = self;
        observation.answered(response.status());
        let request_id = caller.request_id.clone();
        if let Some(client) = upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            let (replica, place) = (hyper::upgrade::on(&mut response), Arc::clone(&caller.place));
            Tunnel { client, replica, exchange, under_way, place, observation, request_id }.open();
            return response.map(|_| Either::Left(Full::<Octets>::default()));
        }
        response.map(|incoming| {
            let mut reply = Reply::new(incoming, exchange, under_way, deadline, pace);
            reply.watch(observation, request_id);
            Either::Right(reply)
        })
    }
}
