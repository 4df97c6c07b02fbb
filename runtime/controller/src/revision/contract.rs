//! What an image keeps to, and what that says of its container where neither manifest nor flags nor the image do. It is
//! decided once, when the image is deployed, by what its configuration says. Pure.

use std::time::Duration;

use dormouse_image::oci::ImageConfig;
use dormouse_spec::{Contract, EndpointRequest, EnvVar, Probe, ProbeHandler};
use serde::{Deserialize, Serialize};

/// What was decided, and why. Written down with the endpoint, so that it stays what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContractChoice {
    /// Never [`Contract::Auto`].
    pub contract: Contract,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// A GET of this is answered well once it is ready. None: when it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readiness_path: Option<String>,
    /// Told the port besides `PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port_variable: Option<String>,
    /// In place of the image's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    /// For requests in flight when a replica ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drain_seconds: Option<u32>,
}

/// What a contract says.
struct Terms {
    contract: Contract,
    port: Option<u16>,
    readiness_path: Option<&'static str>,
    port_variable: Option<&'static str>,
    args: &'static [&'static str],
    drain_seconds: Option<u32>,
}

const NOTHING: Terms = Terms {
    contract: Contract::Raw,
    port: None,
    readiness_path: None,
    port_variable: None,
    args: &[],
    drain_seconds: None,
};

const TERMS: [Terms; 7] = [
    NOTHING,
    Terms { contract: Contract::Knative, port: Some(8080), ..NOTHING },
    Terms { contract: Contract::KServe, port: Some(8080), readiness_path: Some("/v2/health/ready"), ..NOTHING },
    Terms {
        contract: Contract::SageMaker,
        port: Some(8080),
        readiness_path: Some("/ping"),
        port_variable: Some("SAGEMAKER_BIND_TO_PORT"),
        args: &["serve"],
        drain_seconds: Some(30),
    },
    Terms { contract: Contract::MLflow, port: Some(8080), readiness_path: Some("/ping"), ..NOTHING },
    Terms { contract: Contract::Cog, port: Some(5000), readiness_path: Some("/health-check"), ..NOTHING },
    Terms {
        contract: Contract::OpenFaaS,
        port: Some(8080),
        readiness_path: Some("/_/health"),
        port_variable: Some("port"),
        ..NOTHING
    },
];

/// What an image says of itself.
#[derive(Debug, Clone, Copy)]
enum Sign {
    Variable(&'static str),
    Label(&'static str),
    /// Any label that begins so.
    Labels(&'static str),
}

/// By what an image is known to keep to a contract, and where it listens if not where that says. The first that
/// is found counts: servers that know several are known as what they are first.
const SIGNS: [(Sign, Contract, Option<u16>); 9] = [
    (Sign::Variable("TRITON_SERVER_VERSION"), Contract::KServe, Some(8000)),
    (Sign::Variable("NVIDIA_TRITON_SERVER_VERSION"), Contract::KServe, Some(8000)),
    (Sign::Variable("MLSERVER_MODELS_DIR"), Contract::KServe, None),
    (Sign::Labels("run.cog."), Contract::Cog, None),
    (Sign::Labels("org.cogmodel."), Contract::Cog, None),
    (Sign::Variable("fprocess"), Contract::OpenFaaS, None),
    (Sign::Variable("MLFLOW_DISABLE_ENV_CREATION"), Contract::MLflow, None),
    (Sign::Label("com.amazonaws.sagemaker.capabilities.accept-bind-to-port"), Contract::SageMaker, None),
    (Sign::Label("com.amazonaws.sagemaker.capabilities.multi-models"), Contract::SageMaker, None),
];

impl Sign {
    /// How it is told where an image has it.
    fn found(self, config: &ImageConfig) -> Option<String> {
        match self {
            Self::Variable(name) => {
                let found = config.env.iter().any(|(variable, _)| variable == name);
                found.then(|| format!("the image's variable `{name}`"))
            }
            Self::Label(name) => config.labels.contains_key(name).then(|| format!("the image's label `{name}`")),
            // By the part that is known here: the rest is the image's, and could be anything.
            Self::Labels(prefix) => {
                let found = config.labels.keys().any(|label| label.starts_with(prefix));
                found.then(|| format!("a label of the image's that begins with `{prefix}`"))
            }
        }
    }
}

/// `asked` is what manifest or flags say.
pub(crate) fn decide(asked: Contract, config: &ImageConfig) -> ContractChoice {
    if asked != Contract::Auto {
        return choice(asked, "its manifest, or a flag, says so".to_owned(), None);
    }
    let known = SIGNS.iter().find_map(|(sign, contract, port)| Some((sign.found(config)?, *contract, *port)));
    match known {
        Some((why, contract, port)) => choice(contract, why, port),
        None => choice(Contract::Knative, "nothing says otherwise".to_owned(), None),
    }
}

fn choice(contract: Contract, why: String, port: Option<u16>) -> ContractChoice {
    let terms = TERMS.iter().find(|terms| terms.contract == contract).unwrap_or(&NOTHING);
    ContractChoice {
        contract,
        why,
        port: port.or(terms.port),
        readiness_path: terms.readiness_path.map(str::to_owned),
        port_variable: terms.port_variable.map(str::to_owned),
        args: terms.args.iter().map(|word| (*word).to_owned()).collect(),
        drain_seconds: terms.drain_seconds,
    }
}

/// Of an endpoint of a version that knew of no others.
impl Default for ContractChoice {
    fn default() -> Self {
        choice(Contract::Knative, "nothing says otherwise".to_owned(), None)
    }
}

impl ContractChoice {
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    pub(super) fn readiness(&self) -> Probe {
        let get = |path: &String| ProbeHandler::HttpGet { port: None, path: path.clone(), headers: Vec::new() };
        self.readiness_path.as_ref().map_or_else(Probe::tcp, |path| Probe::with(get(path)))
    }

    /// Fills what was not asked for of the endpoint itself.
    pub(crate) fn fill(&self, request: &mut EndpointRequest) {
        let drain = self.drain_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        request.drain_deadline = request.drain_deadline.or(drain);
    }

    /// Given where neither image nor manifest have them.
    pub(super) fn variables(&self, port: u16) -> Vec<EnvVar> {
        let variable = |name: &String| EnvVar::new(name.clone(), port.to_string()).ok();
        self.port_variable.as_ref().and_then(variable).into_iter().collect()
    }

    /// In place of the image's command, where the manifest has none.
    pub(super) fn args(&self) -> Option<&Vec<String>> {
        Some(&self.args).filter(|args| !args.is_empty())
    }

    /// Whether it is given what Knative promises every container.
    pub(super) fn gives_knatives_variables(&self) -> bool {
        self.contract != Contract::Raw
    }
}

#[cfg(test)]
pub(super) mod tests;
