//! From an HTTP request to a response. The path says what is asked for, not of which model: there is only one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::defence::Defence;
use crate::error::ApiError;
use crate::inference::{Call, CancelOnDrop, Cancellation, Job, Reply};
use crate::v2::Signature;
use crate::v2::metadata::{metadata_json, ready_json};
use crate::v2::request::HEADER_LENGTH;
use crate::{Assignment, Work};

/// How long a body may pause between two pieces. A slow upload is welcome, a dead one is not.
const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Most memory set aside on the word of a Content-Length alone, in bytes.
const BODY_RESERVE_MAX: usize = 1 << 20;

static INFERENCE_HEADER_LENGTH: HeaderName = HeaderName::from_static(HEADER_LENGTH);
/// Says of a prepared model what it was verified on.
static VERIFIED: HeaderName = HeaderName::from_static("dormouse-verified");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Answers requests for one model.
#[derive(Debug)]
pub(super) struct Handler {
    metadata: Bytes,
    ready: Bytes,
    jobs: mpsc::Sender<Job>,
    /// One for each request that may be in memory.
    permits: Arc<Semaphore>,
    body_bytes_max: usize,
    work: Work,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Metadata,
    Ready,
    Infer,
    Prepare,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix("/v2/models/")?.split('/');
        segments.next().filter(|model| !model.is_empty())?;
        let rest: Vec<&str> = segments.collect();
        let verb = match rest.as_slice() {
            ["versions", version, verb @ ..] if !version.is_empty() => verb,
            verb => verb,
        };
        match verb {
            [] => Some(Self::Metadata),
            ["ready"] => Some(Self::Ready),
            ["infer"] => Some(Self::Infer),
            ["prepare"] => Some(Self::Prepare),
            _ => None,
        }
    }

    /// A worker answers one kind of question: nobody can have a model that serves prepared, or the other way round.
    fn is_of(&self, work: Work) -> bool {
        match self {
            Self::Metadata | Self::Ready => true,
            Self::Infer => work == Work::Serve,
            Self::Prepare => work == Work::Prepare,
        }
    }

    fn allowed(&self) -> &'static str {
        match self {
            Self::Metadata | Self::Ready => "GET",
            Self::Infer | Self::Prepare => "POST",
        }
    }
}

impl Handler {
    pub(super) fn new(
        signature: &Signature,
        jobs: mpsc::Sender<Job>,
        assignment: &Assignment,
    ) -> serde_json::Result<Self> {
        Ok(Self {
            metadata: metadata_json(&assignment.name, &assignment.version, signature)?.into(),
            ready: ready_json(&assignment.name)?.into(),
            jobs,
            permits: Arc::new(Semaphore::new(assignment.concurrency.get())),
            body_bytes_max: assignment.body_bytes_max,
            work: assignment.work,
        })
    }

    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.route(request).await.unwrap_or_else(|error| error_response(&error))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ApiError> {
        #[cfg(weakened)]
        if let Some(answer) = crate::defence::weakened::deed(request.headers()) {
            return Ok(Response::new(answer.into()));
        }
        let route = Route::of(request.uri().path()).filter(|route| route.is_of(self.work)).ok_or(ApiError::NotFound)?;
        match (route, request.method()) {
            (Route::Metadata, &Method::GET) => Ok(json_response(self.metadata.clone())),
            (Route::Ready, &Method::GET) => Ok(json_response(self.ready.clone())),
            (Route::Infer | Route::Prepare, &Method::POST) => self.infer(request).await.map(reply_response),
            (route, _) => Err(ApiError::Method { allowed: route.allowed() }),
        }
    }

    async fn infer(&self, request: Request<Incoming>) -> Result<Reply, ApiError> {
        let (head, body) = request.into_parts();
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ApiError::Stopping)?;
        let call = Call {
            body: self.read(body).await?,
            header_length: header(&head.headers, &INFERENCE_HEADER_LENGTH),
            content_encoding: header(&head.headers, &CONTENT_ENCODING),
            accept_encoding: header(&head.headers, &ACCEPT_ENCODING),
        };
        let (reply, answer) = oneshot::channel();
        let cancellation = Cancellation::new();
        // Dropped with this future, which is what happens when the connection closes.
        let _cancel = CancelOnDrop(cancellation.clone());
        self.jobs.send(Job { call, cancellation, reply, permit }).await.map_err(|_| ApiError::Stopping)?;
        answer.await.map_err(|_| ApiError::Stopping)?
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, ApiError> {
        let limit = if Defence::BodyLimit.stands() { self.body_bytes_max } else { usize::MAX };
        let too_large = || ApiError::BodyTooLarge { limit };
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > limit {
            return Err(too_large());
        }
        let mut bytes = BytesMut::with_capacity(declared.min(BODY_RESERVE_MAX));
        loop {
            let stalled = |_| ApiError::BodyStalled { seconds: BODY_STALL_TIMEOUT.as_secs() };
            let next = tokio::time::timeout(BODY_STALL_TIMEOUT, body.frame()).await.map_err(stalled)?;
            let Some(frame) = next.transpose().map_err(ApiError::Body)? else { return Ok(bytes.freeze()) };
            if let Ok(data) = frame.into_data() {
                if data.len() > limit - bytes.len() {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

/// A header's values as one list, as HTTP lets them be joined.
fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn json_response(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn reply_response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = json_response(reply.body);
    let headers = response.headers_mut();
    if let Some(verified) = reply.verified {
        headers.insert(CONTENT_TYPE, OCTET_STREAM);
        headers.insert(VERIFIED.clone(), HeaderValue::from_static(verified.name()));
    }
    if let Some(length) = reply.header_length {
        headers.insert(CONTENT_TYPE, OCTET_STREAM);
        headers.insert(INFERENCE_HEADER_LENGTH.clone(), HeaderValue::from(length));
    }
    if let Some(coding) = reply.coding.header() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

fn error_response(error: &ApiError) -> Response<Full<Bytes>> {
    let mut response = json_response(error.to_json().into());
    *response.status_mut() = error.status();
    match error {
        ApiError::Method { allowed } => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        // The rest of the body is still on its way and will not be read.
        ApiError::BodyTooLarge { .. } | ApiError::BodyStalled { .. } => {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/v2/models/m", Some(Route::Metadata)),
            ("/v2/models/m/versions/v10", Some(Route::Metadata)),
            ("/v2/models/any%20name/ready", Some(Route::Ready)),
            ("/v2/models/m/versions/2/ready", Some(Route::Ready)),
            ("/v2/models/m/infer", Some(Route::Infer)),
            ("/v2/models/m/versions/1/infer", Some(Route::Infer)),
            ("/v2/models/versions/infer", Some(Route::Infer)),
            ("/v2/models", None),
            ("/v2/models/", None),
            ("/v2/models//infer", None),
            ("/v2/models/m/", None),
            ("/v2/models/m/versions//infer", None),
            ("/v2/models/m/prepare", Some(Route::Prepare)),
            ("/v2/models/m/infer/x", None),
            ("/v2/models/m/config", None),
            ("/", None),
        ] {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }
}
