use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use dormouse_controller::{Controller, EndpointView};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use super::{
    InferenceError,
    destination::{Destination, destination},
    documents, headers,
    infer::Caller,
    metrics::Metrics,
    pace::PaceLimit,
    places::{Place, Places, UnderWay},
    pool::Pool,
    reply::Reply,
    request_body::{RequestBody, RequestBodyError},
    request_id::{self, RequestIds},
    router::{ModelPath, Route},
};
use crate::{config::GatewaySettings, defence::Defence, status::Refusal};

/// What a client gets: a document of ours, or a replica's answer.
pub(super) type Answer = Response<Either<Full<Bytes>, Reply>>;

/// The largest body of a request that is parsed here: a filter for the repository's index.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// The longest a client may take to send it.
const DOCUMENT_WAIT: Duration = Duration::from_secs(10);

/// Bodies whose beginning is being read, of all connections.
const BODIES_READ_AHEAD_MAX: usize = 1024;

const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The data plane of one node.
#[derive(Debug)]
pub struct Gateway {
    pub(super) controller: Controller,
    pub(super) settings: GatewaySettings,
    pub(super) metrics: Metrics,
    pub(super) pool: Arc<Pool>,
    pub(super) bodies_read_ahead: Places,
    registry: Registry,
    request_ids: RequestIds,
    pub(super) draining: watch::Receiver<bool>,
}

impl Gateway {
    /// # Errors
    /// Where the registry has these metrics already.
    pub fn new(controller: Controller, settings: GatewaySettings, registry: Registry) -> prometheus::Result<Self> {
        Ok(Self {
            draining: controller.draining(),
            controller,
            settings,
            metrics: Metrics::register(&registry)?,
            pool: Arc::default(),
            bodies_read_ahead: Places::new(BODIES_READ_AHEAD_MAX),
            registry,
            request_ids: RequestIds::new(),
        })
    }

    /// Answers one request; an error is an answer too.
    pub(super) async fn handle(
        &self,
        request: Request<Incoming>,
        address: IpAddr,
        place: &Arc<Place>,
    ) -> Result<Answer, Infallible> {
        let under_way = place.request();
        let caller = Caller { address, request_id: self.request_ids.of(request.headers()), place: Arc::clone(place) };
        let is_head = request.method() == Method::HEAD;
        let is_grpc = is_grpc(request.headers());
        let path = request.uri().path().to_owned();
        let request = RequestBody::of(request, self.body_bytes_max(), self.pace());
        let mut response = match self.dispatch(&path, request, &caller, under_way).await {
            Ok(response) => response,
            Err(error) if is_grpc => refused_call(&error, &path, &caller),
            Err(error) => refused(&error, &path, &caller),
        };
        response.headers_mut().insert(request_id::HEADER, caller.request_id);
        Ok(if is_head { without_body(response) } else { response })
    }

    pub(super) fn pace(&self) -> PaceLimit {
        PaceLimit { wait: self.settings.client_wait, rate_min: self.settings.client_rate_min }
    }

    fn body_bytes_max(&self) -> u64 {
        if Defence::BodyLimit.stands() { self.settings.body_bytes_max } else { u64::MAX }
    }

    async fn dispatch(
        &self,
        path: &str,
        request: Request<RequestBody>,
        caller: &Caller,
        under_way: UnderWay,
    ) -> Result<Answer, InferenceError> {
        let image = |name: &str| self.controller.endpoint(name).filter(|view| view.is_image);
        let host = headers::host(request.headers(), request.uri());
        let route = match destination(request.method(), host, path, image)? {
            Destination::Image(image) => return self.forward(image, request, caller, under_way).await,
            Destination::Ours(route) => route,
        };
        Ok(match route {
            Route::Infer(model) => self.infer(model, request, caller, under_way).await?,
            Route::Health => text("text/plain; charset=utf-8", "ok\n".to_owned()),
            Route::Metrics => self.exposition()?,
            Route::ServerMetadata => document(&documents::server_metadata()),
            Route::ServerLive => document(&json!({ "live": true })),
            Route::ServerReady if *self.draining.borrow() => return Err(InferenceError::Draining),
            Route::ServerReady => document(&json!({ "ready": true, "live": true })),
            Route::Models => document(&documents::models(self.controller.endpoints().iter().map(AsRef::as_ref))),
            Route::RepositoryIndex => self.index(request).await?,
            Route::ModelMetadata(model) => document(&self.model_metadata(model)?),
            Route::ModelReady(model) => document(&self.model_ready(model)?),
            Route::NotServed(what) => return Err(InferenceError::NotServed(what)),
        })
    }

    fn find(&self, model: ModelPath<'_>) -> Result<Arc<EndpointView>, InferenceError> {
        self.endpoint_of(model, self.controller.endpoint(model.name))
    }

    fn model_metadata(&self, model: ModelPath<'_>) -> Result<Value, InferenceError> {
        #[cfg(weakened)]
        if let Some(text) = crate::defence::weakened::file_named(model.name) {
            return Ok(json!({ "name": model.name, "file": text }));
        }
        let view = self.find(model)?;
        documents::model_metadata(&view).ok_or_else(|| not_ready(&view, "it has not been deployed yet"))
    }

    fn model_ready(&self, model: ModelPath<'_>) -> Result<Value, InferenceError> {
        let view = self.find(model)?;
        match documents::not_ready(&view) {
            None => Ok(documents::model_ready(&view)),
            Some(reason) => Err(not_ready(&view, reason)),
        }
    }

    async fn index(&self, request: Request<RequestBody>) -> Result<Answer, InferenceError> {
        let body = timeout(DOCUMENT_WAIT, read_document(request.into_body()));
        let body = body.await.map_err(|_| InferenceError::BodyTooSlow)??;
        let filter = if body.is_empty() {
            documents::IndexFilter::default()
        } else {
            serde_json::from_slice(&body).map_err(InferenceError::Malformed)?
        };
        Ok(document(&documents::index(self.controller.endpoints().iter().map(AsRef::as_ref), &filter)))
    }

    pub(super) fn drop_series_of_deleted(&self) {
        let endpoints = self.controller.endpoints();
        self.metrics.keep_only(|name| endpoints.iter().any(|view| view.endpoint.name.as_str() == name));
    }

    fn exposition(&self) -> Result<Answer, InferenceError> {
        self.drop_series_of_deleted();
        let encoded = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        Ok(text(prometheus::TEXT_FORMAT, encoded.map_err(InferenceError::Metrics)?))
    }
}

async fn read_document(body: RequestBody) -> Result<Bytes, InferenceError> {
    let too_large = || InferenceError::BodyTooLarge { limit: dormouse_spec::Bytes::new(DOCUMENT_BYTES_MAX as u64) };
    match Limited::new(body, DOCUMENT_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(match error.downcast::<RequestBodyError>().map(|error| *error) {
            Ok(RequestBodyError::Client(error)) => InferenceError::BodyUnreadable(error),
            Ok(RequestBodyError::Reset) => InferenceError::BodyBroken,
            Ok(RequestBodyError::TooSlow) => InferenceError::BodyTooSlow,
            _ => too_large(),
        }),
    }
}

fn not_ready(view: &EndpointView, reason: &'static str) -> InferenceError {
    InferenceError::NotReady { model: view.endpoint.name.to_string(), reason }
}

fn text(content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Either::Left(Full::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn document(document: &Value) -> Answer {
    text("application/json", document.to_string())
}

/// What HEAD gets of a document: the head that GET would. A replica knows itself what HEAD is.
fn without_body(response: Answer) -> Answer {
    if matches!(response.body(), Either::Right(_)) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, Either::Left(Full::default()))
}

fn refused(error: &InferenceError, path: &str, caller: &Caller) -> Answer {
    let refusal = Refusal::from(error);
    log(&refusal, path, caller);
    let mut response = text("application/json", refusal.body());
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Not gRPC-Web, whose clients know statuses of HTTP, and have trailers in their bodies.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(GRPC.as_bytes()));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The same for a client of gRPC, which takes every status of HTTP but 200 for one after which it may try again.
fn refused_call(error: &InferenceError, path: &str, caller: &Caller) -> Answer {
    let refusal = Refusal::from(error);
    log(&refusal, path, caller);
    let mut response = text(GRPC, String::new());
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(refusal.grpc_status())));
    // Of printable ASCII alone, it is always a header.
    if let Ok(message) = HeaderValue::try_from(refusal.grpc_message()) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// A client's mistake is told to the client; what the operator may have to see to is logged.
fn log(refusal: &Refusal, path: &str, caller: &Caller) {
    let request_id = caller.request_id.to_str().unwrap_or_default();
    let status = refusal.status.as_u16();
    if refusal.status.is_server_error() && refusal.status != StatusCode::NOT_IMPLEMENTED {
        tracing::warn!(request_id, status, path, error = refusal.message, "request refused");
    } else {
        tracing::debug!(request_id, status, path, error = refusal.message, "request refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_begins_like_grpc_is_none() {
        let is = |kind: &'static str| is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]));
        assert!(["application/grpc", "application/grpc+proto", "application/grpc;x=1"].into_iter().all(is));
        let others = ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "text/plain"];
        assert!(!others.into_iter().any(is));
    }
}
