mod images;

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use bytes::Bytes;
use dormouse_controller::{Controller, DeployRequest, DeployedContent, EndpointView, LogQuery, ModelFile};
use dormouse_spec::EndpointName;
use http::{
    HeaderValue, Method, Request, Response,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use rustix::fs::OFlags;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc, time::timeout};

use super::{
    AdminError, DOCUMENT_BYTES_MAX,
    api::{DeployEvent, DeployOrder, EndpointStatus, FileEntry, NodeStatus, WakeStatus, images::ImageDiskStatus},
    descriptors::Received,
    lines::Lines,
    logs,
};
use crate::{
    defence::Defence,
    status::{Refusal, chain},
};

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// The longest a caller may take to send a document.
const DOCUMENT_WAIT: Duration = Duration::from_secs(10);
/// Steps of a deploy that wait to be written to a caller who does not read.
const STEPS_MAX: usize = 64;

/// The control plane of one node.
#[derive(Debug)]
pub struct Admin {
    pub controller: Controller,
    /// Told to callers but for `draining` and `image_disk`, which are looked up.
    pub node: NodeStatus,
}

enum Route<'a> {
    Node,
    List,
    Deploy,
    Status(&'a str),
    Delete(&'a str),
    Logs { name: &'a str, query: LogQuery },
    Wakes(&'a str),
    Images(images::Route),
}

impl Admin {
    /// Answers one request; an error is an answer too.
    pub(super) async fn handle(&self, request: Request<Incoming>, received: &Received) -> Answer {
        match self.dispatch(request, received).await {
            Ok(answer) => answer,
            Err(error) => {
                let refusal = Refusal::from(&error);
                if refusal.status.is_server_error() {
                    tracing::error!(error = chain(&error), "a request to the admin API failed");
                }
                refused(&error)
            }
        }
    }

    async fn dispatch(&self, request: Request<Incoming>, received: &Received) -> Result<Answer, AdminError> {
        let (head, body) = request.into_parts();
        match route(&head.method, head.uri.path(), head.uri.query())? {
            Route::Node => {
                let draining = *self.controller.draining().borrow();
                let image_disk = self.controller.images().disk().await.ok().map(ImageDiskStatus::from);
                Ok(document(&NodeStatus { draining, image_disk, ..self.node.clone() }))
            }
            Route::List => {
                let views = self.controller.endpoints();
                Ok(document(&views.iter().map(|view| EndpointStatus::of(view, &self.node)).collect::<Vec<_>>()))
            }
            Route::Status(name) => Ok(document(&EndpointStatus::of(&*self.view(name)?, &self.node))),
            Route::Wakes(name) => {
                let wakes = self.view(name)?.wakes.iter().map(|wake| WakeStatus::from(&**wake)).collect::<Vec<_>>();
                Ok(document(&wakes))
            }
            Route::Images(route) => images::answer(self.controller.images(), route, body, received).await,
            Route::Delete(name) => {
                let name: EndpointName = name.parse()?;
                self.controller.delete(&name).await?;
                tracing::info!(endpoint = %name, "deleted");
                Ok(document(&serde_json::json!({})))
            }
            #[cfg(weakened)]
            Route::Logs { name, .. } if let Some(text) = crate::defence::weakened::file_named(name) => {
                Ok(with_type("text/plain; charset=utf-8", Full::from(text).boxed_unsync()))
            }
            Route::Logs { name, query } => {
                let lines = self.controller.logs(name, query).await?;
                Ok(streamed("text/plain; charset=utf-8", Lines::new(None, lines, |line| line)))
            }
            Route::Deploy => {
                let order = read_order(body).await?;
                Ok(self.deploy(with_descriptors(order, received.take())?).await)
            }
        }
    }

    fn view(&self, name: &str) -> Result<Arc<EndpointView>, AdminError> {
        self.controller.endpoint(name).ok_or_else(|| AdminError::NoSuchEndpoint(name.to_owned()))
    }

    /// Answers with the steps as they happen, or, where it failed before the first, with the error.
    async fn deploy(&self, request: DeployRequest) -> Answer {
        let (events, mut steps) = mpsc::channel(STEPS_MAX);
        // Its own task: a deploy that began goes to its end although the caller went away.
        tokio::spawn(run_deploy(self.controller.clone(), request, self.node.clone(), events));
        match steps.recv().await {
            Some(DeployEvent::Failed { status, error }) => {
                let mut answer = document(&super::api::ErrorBody { error });
                *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                answer
            }
            first => streamed("application/jsonl", Lines::new(first, steps, |event| json(&event))),
        }
    }
}

async fn run_deploy(
    controller: Controller,
    request: DeployRequest,
    node: NodeStatus,
    events: mpsc::Sender<DeployEvent>,
) {
    let name = request.endpoint.name.clone();
    let (progress, mut steps) = mpsc::channel(STEPS_MAX);
    let deploy = controller.deploy(request, progress);
    tokio::pin!(deploy);
    let result = loop {
        tokio::select! {
            biased;
            // A step that the caller does not take is left out: it must not hold the deploy up.
            Some(step) = steps.recv() => drop(events.try_send(step.into())),
            result = &mut deploy => break result,
        }
    };
    let last = match result {
        Ok(deployed) => {
            let what = match &deployed.content {
                DeployedContent::Model { model, .. } => model.to_string(),
                DeployedContent::Image(image) => format!("{}@{}", image.reference.familiar(), image.manifest),
            };
            tracing::info!(endpoint = %name, revision = deployed.revision, what, "deployed");
            DeployEvent::deployed(&deployed, &node)
        }
        Err(error) => {
            let refusal = Refusal::from(&AdminError::Deploy(error));
            DeployEvent::Failed { status: refusal.status.as_u16(), error: refusal.message }
        }
    };
    // A caller that went away finds it in the endpoint's status.
    let _ = events.send(last).await;
}

fn route<'a>(method: &Method, path: &'a str, query: Option<&str>) -> Result<Route<'a>, AdminError> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    Ok(match (segments.as_slice(), method.as_str()) {
        (["v1", "node"], "GET") => Route::Node,
        (["v1", "endpoints"], "GET") => Route::List,
        (["v1", "endpoints"], "POST") => Route::Deploy,
        (["v1", "endpoints", name], "GET") => Route::Status(name),
        (["v1", "endpoints", name], "DELETE") => Route::Delete(name),
        (["v1", "endpoints", name, "logs"], "GET") => {
            Route::Logs { name, query: logs::parse(query.unwrap_or_default())? }
        }
        (["v1", "endpoints", name, "wakes"], "GET") => Route::Wakes(name),
        (["v1", "images", rest @ ..], _) => Route::Images(images::route(method, rest)?),
        (["v1", "node"] | ["v1", "endpoints", _, "logs" | "wakes"], _) => {
            return Err(AdminError::Method { allow: "GET" });
        }
        (["v1", "endpoints"], _) => return Err(AdminError::Method { allow: "GET, POST" }),
        (["v1", "endpoints", _], _) => return Err(AdminError::Method { allow: "GET, DELETE" }),
        _ => return Err(AdminError::NoSuchPath),
    })
}

async fn read_order<T: DeserializeOwned>(body: Incoming) -> Result<T, AdminError> {
    let limit = if Defence::DocumentLimit.stands() { DOCUMENT_BYTES_MAX } else { usize::MAX };
    let body = timeout(DOCUMENT_WAIT, Limited::new(body, limit).collect());
    let body = body.await.map_err(|_| AdminError::BodyTooSlow)?.map_err(|error| {
        let limit = dormouse_spec::Bytes::new(DOCUMENT_BYTES_MAX as u64);
        if error.is::<LengthLimitError>() {
            AdminError::BodyTooLarge { limit }
        } else {
            AdminError::BodyUnreadable(error)
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(AdminError::Malformed)
}

fn with_descriptors(order: DeployOrder, descriptors: Vec<OwnedFd>) -> Result<DeployRequest, AdminError> {
    #[cfg(weakened)]
    let descriptors = crate::defence::weakened::opened_again(descriptors);
    let named = order.files.len() + usize::from(order.sample);
    if named != descriptors.len() {
        return Err(AdminError::Descriptors { files: named, descriptors: descriptors.len() });
    }
    let mut descriptors = descriptors.into_iter();
    let mut files = Vec::with_capacity(order.files.len());
    for (FileEntry { path }, file) in order.files.into_iter().zip(&mut descriptors) {
        if !is_open_for_reading(&file) {
            return Err(AdminError::NotReadable { path });
        }
        files.push(ModelFile { path, file });
    }
    let sample = descriptors.next();
    if sample.as_ref().is_some_and(|sample| !is_open_for_reading(sample)) {
        return Err(AdminError::NotReadable { path: "the sample".to_owned() });
    }
    Ok(DeployRequest { endpoint: order.endpoint, files, sample })
}

/// Anybody can point at a file and pass that on. Only who opened it for reading may have it read.
fn is_open_for_reading(file: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| {
        let mode = flags & OFlags::RWMODE;
        !flags.contains(OFlags::PATH) && (mode == OFlags::RDONLY || mode == OFlags::RDWR)
    })
}

/// The same for who is to have it written.
fn is_open_for_writing(file: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| {
        let mode = flags & OFlags::RWMODE;
        !flags.contains(OFlags::PATH) && (mode == OFlags::WRONLY || mode == OFlags::RDWR)
    })
}

fn json(document: &impl Serialize) -> String {
    // These types have no map with keys that JSON cannot write.
    serde_json::to_string(document).unwrap_or_default()
}

fn document(value: &impl Serialize) -> Answer {
    let body = json(value);
    with_type("application/json", Full::from(body).boxed_unsync())
}

fn streamed<T: Unpin + Send + 'static>(content_type: &'static str, lines: Lines<T>) -> Answer {
    with_type(content_type, lines.boxed_unsync())
}

fn with_type(content_type: &'static str, body: UnsyncBoxBody<Bytes, std::convert::Infallible>) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn refused(error: &AdminError) -> Answer {
    let refusal = Refusal::from(error);
    let mut answer = with_type("application/json", Full::from(refusal.body()).boxed_unsync());
    *answer.status_mut() = refusal.status;
    if let Some(seconds) = refusal.retry_after_seconds() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = refusal.allow {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    answer
}
