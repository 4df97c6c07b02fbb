//! A daemon with everything that is woken in it, and how each is woken.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::server::{self, BareServer};
use crate::{
    Bench, Failure,
    daemon::{Daemon, EndpointSettings, Wake, configuration::WITHOUT_POOL},
    floor,
    image::Layout,
    models::{Answer, Model},
    parts::rest::Rest,
};

/// Images as the node knows them.
const WEB_IMAGE: &str = "example.org/web:1";
const SERVER_IMAGE: &str = "example.org/server:1";
/// What the web server of set-up shows.
pub(super) const PAGE: &[u8] = b"busybox serves this\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    /// busybox httpd.
    Web,
    /// The server of one answer.
    Server,
    /// A worker of ours with a model that is all overhead.
    Worker,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: &'static str,
    payload: Payload,
    pub(super) rest: Rest,
    /// What `dormouse why` calls its wakes, where it is woken.
    told: Option<&'static str>,
}

pub(super) const ZERO: Endpoint =
    Endpoint { name: "zero", payload: Payload::Web, rest: Rest::Zero, told: Some("created") };
pub(super) const WORKER: Endpoint =
    Endpoint { name: "worker", payload: Payload::Worker, rest: Rest::Zero, told: Some("created") };
pub(super) const FROZEN: Endpoint =
    Endpoint { name: "frozen", payload: Payload::Server, rest: Rest::Frozen, told: Some("frozen") };
/// Not woken: what an idle second alone costs.
pub(super) const AWAKE: Endpoint = Endpoint { name: "awake", payload: Payload::Server, rest: Rest::Awake, told: None };

/// The same, never idle.
pub(super) const WARM: Endpoint = Endpoint { name: "warm", ..AWAKE };

#[derive(Debug)]
pub(super) struct Stand {
    pub(super) daemon: Daemon,
    /// What the server of one answer says to everybody.
    pub(super) answer: Vec<u8>,
    model: Model,
    model_answer: Answer,
    directory: tempfile::TempDir,
}

/// The image of set-up, or why it is not there.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) layout: Layout,
    pub(super) archive: PathBuf,
}

impl Stand {
    pub(super) fn build(bench: &Bench) -> Result<Self, Failure> {
        let model = Model::named(&bench.setup, "tiny_mlp")?;
        let (_, model_answer) = floor::first_answer(bench, &model)?;
        let answer = BareServer::on_tcp(bench)?.connect_tcp()?.get("bench", "/")?;
        let directory = tempfile::tempdir()?;
        let daemon = Daemon::start(bench, &[WITHOUT_POOL])?;
        daemon.import(&server::archive(bench, directory.path())?, SERVER_IMAGE)?;
        Ok(Self { daemon, answer, model, model_answer, directory })
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn bring_web(&self, bench: &Bench) -> Result<Web, Failure> {
        let layout = Layout::open(&bench.setup.join("images/busybox-httpd"))?;
        let archive = self.directory.path().join("web.tar");
        layout.archive(&archive)?;
        self.daemon.import(&archive, WEB_IMAGE)?;
        Ok(Web { layout, archive })
    }

    /// Deploys it; whatever is done once per machine is done then, and pages are in memory.
    pub(super) fn deploy(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        let settings = EndpointSettings { max_replicas: Some(1), ..endpoint.rest.settings() };
        match endpoint.payload {
            Payload::Web => self.daemon.deploy_image(endpoint.name, WEB_IMAGE, &settings)?,
            Payload::Server => self.daemon.deploy_image(endpoint.name, SERVER_IMAGE, &settings)?,
            Payload::Worker => self.daemon.deploy(endpoint.name, &self.model, &settings)?,
        }
        self.wake(endpoint).map(drop)
    }

    /// The first answer, whose time is that of a caller who knows nothing of the endpoint's state.
    pub(super) fn wake(&self, endpoint: &Endpoint) -> Result<Duration, Failure> {
        let expected = match endpoint.payload {
            Payload::Web => PAGE,
            Payload::Server => &self.answer,
            Payload::Worker => {
                let (took, answer) = self.daemon.first_answer(endpoint.name, &self.model)?;
                answer.check(&self.model_answer)?;
                return Ok(took);
            }
        };
        let (took, page) = self.daemon.first_page(endpoint.name)?;
        if page != expected {
            return Err(format!("{} shows {:?}", endpoint.name, String::from_utf8_lossy(&page)).into());
        }
        Ok(took)
    }

    /// What the daemon tells of the wake by a request that was sent at `asked`, where there was one. One from another
    /// rung is no sample of this one.
    pub(super) fn told(&self, endpoint: &Endpoint, asked: Instant) -> Result<Option<Wake>, Failure> {
        let Some(told) = endpoint.told else { return Ok(None) };
        let wake = self.daemon.wake_since(endpoint.name, asked)?;
        if wake.rung != told {
            return Err(format!("a wake was to come from `{told}` and came from `{}`", wake.rung).into());
        }
        Ok(Some(wake))
    }
}
