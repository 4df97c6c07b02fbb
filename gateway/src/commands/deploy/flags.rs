use clap::Args;
use dormouse_spec::{AppProtocol, Bytes, Container, Contract, EndpointRequest, EnvVar, ImageReference, MilliCpu};

/// What a manifest would say of an endpoint's container.
#[derive(Debug, Args)]
pub(super) struct ContainerFlags {
    /// Where the image listens; it is told by $PORT [default: the port it exposes, else 8080]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Speak HTTP/2 without TLS to the image, as gRPC needs it
    #[arg(long)]
    h2c: bool,
    /// What the image keeps to: auto, knative, kserve, sagemaker, mlflow, cog, openfaas or raw [default: auto]
    #[arg(long)]
    contract: Option<Contract>,
    /// A variable for the image; more than once for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<EnvVar>,
    /// Processors of one replica: `2`, `500m` [default: of the node]
    #[arg(long)]
    cpu: Option<MilliCpu>,
    /// Memory of one replica: `1Gi` [default: of the node]
    #[arg(long)]
    memory: Option<Bytes>,
    /// Arguments for the image, in place of its own
    #[arg(last = true)]
    args: Vec<String>,
}

impl ContainerFlags {
    pub(super) fn is_used(&self) -> bool {
        self.is_for_images() || self.cpu.is_some() || self.memory.is_some()
    }

    /// Whether a model has no use for it.
    pub(super) fn is_for_images(&self) -> bool {
        self.port.is_some() || self.h2c || self.contract.is_some() || !self.env.is_empty() || !self.args.is_empty()
    }

    pub(super) fn container(&self, image: ImageReference) -> Container {
        Container {
            port: self.port,
            app_protocol: if self.h2c { AppProtocol::H2c } else { AppProtocol::Http1 },
            contract: self.contract.unwrap_or_default(),
            env: self.env.clone(),
            args: self.args.clone(),
            ..Container::of(image)
        }
    }

    pub(super) fn limit(&self, endpoint: &mut EndpointRequest) {
        endpoint.cpu = self.cpu.or(endpoint.cpu);
        endpoint.memory = self.memory.or(endpoint.memory);
    }
}

fn variable(text: &str) -> Result<EnvVar, String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    EnvVar::new(name.to_owned(), value.to_owned()).map_err(|error| error.to_string())
}
