//! HTTP of the scripted worker: metadata, readiness, and an inference that goes as the script says.

use std::{
    hint::black_box,
    io,
    pin::Pin,
    process::{abort, exit},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_LENGTH, response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::mount::UnmountFlags;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep},
};

use super::{LOOK_EVERY, ScriptFile, bomb, control::Work};
use crate::script::{Infer, Prepare};

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) work: Work,
    pub(super) script: ScriptFile,
}

type Answer = Response<Either<Full<Bytes>, Broken>>;

/// Whoever `accept` lets in.
pub(super) async fn serve<S>(accept: impl AsyncFn() -> io::Result<S>, model: Model)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut unheard = Vec::new();
    loop {
        let stream = accept().await.unwrap();
        if model.script.read().infer == Infer::Deaf {
            unheard.push(stream);
            continue;
        }
        let model = model.clone();
        let service = service_fn(move |request| {
            let model = model.clone();
            async move { model.answer(request).await }
        });
        tokio::spawn(http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service));
    }
}

impl Model {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let path = request.uri().path().to_owned();
        if path.ends_with("/infer") {
            // A body that breaks off is told by the caller's own test.
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            return self.infer(&body).await;
        }
        if path.ends_with("/prepare") && self.work == Work::Prepare {
            return self.prepare().await;
        }
        if path.ends_with("/ready") {
            return Ok(document(&json!({ "name": self.name, "ready": true })));
        }
        let x = json!([{ "name": "x", "datatype": "INT64", "shape": [-1] }]);
        Ok(document(
            &json!({ "name": self.name, "versions": [self.version], "platform": "onnx_onnxv1", "inputs": x, "outputs": x }),
        ))
    }

    async fn infer(&self, body: &[u8]) -> io::Result<Answer> {
        loop {
            match self.script.read().infer {
                Infer::Echo => return Ok(self.echo(body)),
                Infer::Hold => sleep(LOOK_EVERY).await,
                Infer::Exit { code } => exit(code),
                Infer::Crash => abort(),
                Infer::ForbiddenCall => drop(rustix::mount::unmount("/tmp", UnmountFlags::empty())),
                Infer::EatMemory => bomb::eat_memory(Duration::ZERO),
                Infer::Bomb(bomb) => return Ok(self.tell(&json!(bomb::set_off(bomb, self.script.path())))),
                Infer::Fill => return Ok(self.tell(&json!([fill(body)]))),
                Infer::HangUp | Infer::Deaf => return Err(io::ErrorKind::ConnectionAborted.into()),
                Infer::BreakOff => return Ok(broken_off(Response::builder())),
                Infer::Print { lines, bytes } => {
                    (0..lines).for_each(|line| println!("{line:0bytes$}"));
                    return Ok(self.echo(body));
                }
            }
        }
    }

    /// What it makes of its model is text, which nothing of the fake ever loads.
    async fn prepare(&self) -> io::Result<Answer> {
        println!("{}", crate::script::ASKED_TO_PREPARE);
        let prepared = || Response::builder().header("dormouse-verified", "seeded");
        loop {
            match self.script.read().prepare {
                Prepare::Done => return Ok(prepared().body(Either::Left(Full::from("prepared"))).unwrap()),
                Prepare::Hold => sleep(LOOK_EVERY).await,
                Prepare::Refuse => {
                    let refusal = json!({ "error": "the script is not prepared" }).to_string();
                    return Ok(Response::builder().status(422).body(Either::Left(Full::from(refusal))).unwrap());
                }
                Prepare::Crash => abort(),
                Prepare::EatMemory => bomb::eat_memory(Duration::ZERO),
                Prepare::BreakOff => return Ok(broken_off(prepared())),
            }
        }
    }

    fn echo(&self, body: &[u8]) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        self.tell(&request["inputs"][0]["data"])
    }

    fn tell(&self, data: &Value) -> Answer {
        let length = data.as_array().map_or(0, Vec::len);
        let outputs = json!([{ "name": "x", "datatype": "INT64", "shape": [length], "data": data }]);
        document(&json!({ "model_name": self.name, "model_version": self.version, "outputs": outputs }))
    }
}

fn fill(body: &[u8]) -> f64 {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let mebibytes = request["inputs"][0]["data"][0].as_u64().unwrap_or_default() as usize;
    black_box(vec![1_f32; mebibytes << 18]).into_iter().map(f64::from).sum()
}

fn document(value: &Value) -> Answer {
    Response::builder()
        .header("content-type", "application/json")
        .body(Either::Left(Full::from(value.to_string())))
        .unwrap()
}

fn broken_off(response: response::Builder) -> Answer {
    let rest = Box::pin(sleep(LOOK_EVERY));
    response.header(CONTENT_LENGTH, 1000).body(Either::Right(Broken { began: false, rest })).unwrap()
}

/// A body that ends before its declared length, some time after its beginning.
struct Broken {
    began: bool,
    rest: Pin<Box<Sleep>>,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !std::mem::replace(&mut self.began, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"outputs\":")))));
        }
        self.rest.as_mut().poll(cx).map(|()| Some(Err(io::ErrorKind::BrokenPipe.into())))
    }
}
