use crate::{
    Bench, Failure,
    daemon::{Daemon, EndpointSettings, configuration::DEFAULT},
    floor::BareWorker,
    load::{Door, Target},
    models::Model,
    peers::triton::{self, Triton},
    process::family,
};

/// Whoever answers, started and warm.
#[derive(Debug)]
pub(super) enum Server {
    Dormouse { daemon: Daemon, endpoint: String },
    Bare { worker: BareWorker, endpoint: &'static str },
    Triton { server: triton::Server, _installed: Triton },
}

type Start = fn(&Bench, &Model) -> Result<Server, Failure>;

impl Server {
    /// Those that serve this model.
    pub(super) fn kinds(model: &Model) -> Vec<(&'static str, Start)> {
        let mut kinds: Vec<(&'static str, Start)> = vec![("Dormouse", Self::dormouse), ("bare worker", Self::bare)];
        if model.name == triton::MODEL {
            kinds.push(("Triton", Self::triton));
        }
        kinds
    }

    pub(super) fn dormouse(bench: &Bench, model: &Model) -> Result<Self, Failure> {
        let daemon = Daemon::start(bench, &[DEFAULT])?;
        let settings = EndpointSettings { max_replicas: Some(1), ..EndpointSettings::resting("10m", "20m") };
        let endpoint = model.endpoint();
        daemon.deploy(&endpoint, model, &settings)?;
        daemon.first_answer(&endpoint, model)?;
        Ok(Self::Dormouse { daemon, endpoint })
    }

    pub(super) fn bare(bench: &Bench, model: &Model) -> Result<Self, Failure> {
        Ok(Self::Bare { worker: BareWorker::start(bench, model)?, endpoint: model.name })
    }

    fn triton(bench: &Bench, model: &Model) -> Result<Self, Failure> {
        let installed = Triton::find(bench, model)?;
        let (.., server) = installed.first_answer(model)?;
        Ok(Self::Triton { server, _installed: installed })
    }

    pub(super) fn target(&self) -> Target {
        match self {
            Self::Dormouse { daemon, endpoint } => {
                Target { at: Door::Tcp(daemon.address()), endpoint: endpoint.clone() }
            }
            Self::Bare { worker, endpoint } => {
                Target { at: Door::Unix(worker.socket()), endpoint: (*endpoint).to_owned() }
            }
            Self::Triton { server, .. } => {
                Target { at: Door::Tcp(server.address()), endpoint: triton::MODEL.to_owned() }
            }
        }
    }

    /// Every process that has a part in an answer.
    pub(super) fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(match self {
            Self::Dormouse { daemon, .. } => [daemon.halves()?.to_vec(), daemon.contained()?].concat(),
            Self::Bare { worker, .. } => family(worker.pid()),
            Self::Triton { server, .. } => family(server.pid()),
        })
    }
}
