//! An inference request from its admission to the head of its answer.

use std::{net::IpAddr, sync::Arc};

use dormouse_controller::{EndpointView, Expectation};
use dormouse_spec::{Bytes, EndpointName};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tokio::time::Instant;

use super::{
    Gateway, InferenceError,
    exchange::{ExchangeError, exchange},
    grant::Grant,
    headers,
    metrics::Observation,
    places::UnderWay,
    reply::Reply,
    request_body::{RequestBody, RequestBodyError},
    router::ModelPath,
};
use crate::defence::Defence;

/// So much of a body, or all of it, is here before its request is given a replica. Most bodies are
/// smaller; of a larger one the rest streams, and has to come at a least rate.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Who asked, and how the request is called in logs.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) request_id: HeaderValue,
}

impl Gateway {
    /// # Errors
    /// See [`InferenceError`]; nothing was answered then.
    pub(super) async fn infer(
        &self,
        model: ModelPath<'_>,
        request: Request<RequestBody>,
        caller: &Caller,
        under_way: UnderWay,
    ) -> Result<Response<Reply>, InferenceError> {
        let view = self.controller.endpoint(model.name);
        if view.as_ref().is_some_and(|view| self.metrics.is_sweep_due(&view.endpoint.name)) {
            self.drop_series_of_deleted();
        }
        let mut observation = self.metrics.watch(view.as_ref().map(|view| &view.endpoint.name));
        let answered = match self.endpoint_of(model, view) {
            Ok(view) => self.answer(&view, request, caller, under_way).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(mut response) => {
                observation.answered(response.status());
                response.body_mut().watch(observation, caller.request_id.clone());
                Ok(response)
            }
            Err(error) => {
                tell(&mut observation, &error);
                Err(error)
            }
        }
    }

    async fn answer(
        &self,
        view: &EndpointView,
        mut request: Request<RequestBody>,
        caller: &Caller,
        mut under_way: UnderWay,
    ) -> Result<Response<Reply>, InferenceError> {
        if *self.draining.borrow() {
            return Err(InferenceError::Draining);
        }
        let deadline = Instant::now() + view.endpoint.timeout;
        let body_bytes_max = self.settings.body_bytes_max;
        if request.body().is_declared_too_large() {
            return Err(InferenceError::BodyTooLarge { limit: Bytes::new(body_bytes_max) });
        }
        let mut expectation = self.read_ahead(&view.endpoint.name, request.body_mut()).await?;
        under_way.is_ours();
        let uri = request.uri().clone();
        headers::to_replica(request.headers_mut(), &uri, caller.address, &caller.request_id);
        *request.uri_mut() = uri.path_and_query().cloned().map_or(uri, Into::into);
        *request.version_mut() = http::Version::HTTP_11;
        let mut retried = false;
        loop {
            let (name, until) = (&view.endpoint.name, deadline.into_std());
            let lease = match expectation.take() {
                Some(expectation) => self.controller.acquire_expected(name, until, expectation).await?,
                None => self.controller.acquire(name, until).await?,
            };
            match exchange(&self.pool, Grant::from(lease), request, deadline, body_bytes_max).await {
                Ok((response, exchange)) => {
                    let pace = self.pace();
                    return Ok(response.map(|incoming| Reply::new(incoming, exchange, under_way, deadline, pace)));
                }
                Err(ExchangeError::Failed(error)) => return Err(error),
                Err(ExchangeError::Unsent(unsent)) if !retried => {
                    retried = true;
                    request = unsent.0;
                }
                Err(ExchangeError::Unsent(unsent)) => return Err(InferenceError::Unreachable(unsent.1)),
            }
        }
    }

    /// Waits for the beginning of a body: a replica is not for those who have yet to send something. But it
    /// begins to wake for them.
    async fn read_ahead(
        &self,
        endpoint: &EndpointName,
        body: &mut RequestBody,
    ) -> Result<Option<Expectation>, InferenceError> {
        if body.is_end_stream() || !Defence::BodyReadAhead.stands() {
            return Ok(None);
        }
        let until = Instant::now() + self.settings.client_wait;
        let expectation = self.controller.expect(endpoint, until.into_std());
        let place = self.bodies_read_ahead.take().await;
        let read = tokio::select! {
            biased;
            read = body.read_ahead(READ_AHEAD_BYTES) => read,
            () = place.called_back() => Err(RequestBodyError::TooSlow),
        };
        read.map(|()| expectation).map_err(|error| match error {
            RequestBodyError::OverLimit => {
                InferenceError::BodyTooLarge { limit: Bytes::new(self.settings.body_bytes_max) }
            }
            RequestBodyError::TooSlow => InferenceError::BodyTooSlow,
            RequestBodyError::Client(_) => InferenceError::BodyBroken,
        })
    }

    /// The endpoint a path means, if it has the version that the path means.
    pub(super) fn endpoint_of(
        &self,
        model: ModelPath<'_>,
        view: Option<Arc<EndpointView>>,
    ) -> Result<Arc<EndpointView>, InferenceError> {
        let view = view.ok_or_else(|| InferenceError::NoSuchModel(shown(model.name)))?;
        match model.version {
            Some(asked) if asked != view.revision.to_string() => Err(InferenceError::NoSuchVersion {
                model: view.endpoint.name.to_string(),
                asked: shown(asked),
                serving: view.revision,
            }),
            _ => Ok(view),
        }
    }
}

fn tell(observation: &mut Observation, error: &InferenceError) {
    observation.answered(crate::status::Refusal::from(error).status);
}

/// No name is longer, so that more of what a client sent tells nothing.
const SHOWN_CHARS_MAX: usize = 128;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
