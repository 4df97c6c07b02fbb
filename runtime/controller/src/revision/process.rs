//! The process of an image's container: what the image says, and over it what was asked. Pure.

use dormouse_image::oci::{ExposedPort, Protocol};
use dormouse_sandbox::{
    channel::MESSAGE_BYTES_MAX,
    messages::{ImagePayload, ImageUser, LAYERS_MAX, PROCESS_BYTES_MAX},
};
use dormouse_spec::{Container, Endpoint, EnvVar, EnvVarError, NonRootError, PORT_DEFAULT, StopSignalError};

use super::{
    PinnedImage,
    volumes::{self, Contents, VolumeError},
};

/// Of what is told of a process, as JSON, so that a message to the spawner, and one of its own, hold it and the rest.
const MESSAGE_MAX: usize = MESSAGE_BYTES_MAX - (4 << 10);
/// As long as the kernel takes a path.
const PATH_MAX: usize = 4095;
const USER_MAX: usize = 256;

/// Why no process can be made of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error(
        "the image says no command: give one with `command` or `args` of its manifest, or behind `--` of `dormouse deploy`"
    )]
    NoCommand,
    #[error("the image has {0} layers, more than {LAYERS_MAX}")]
    Layers(usize),
    #[error("the image has no layer")]
    NoLayer,
    #[error("arguments, environment and commands of probes take {0} bytes, more than {PROCESS_BYTES_MAX}")]
    TooLong(usize),
    #[error("what its process is given takes {0} bytes as it is passed on, more than {MESSAGE_MAX}")]
    Message(usize),
    #[error("{what} has {bytes} bytes, more than {most}")]
    Long { what: &'static str, bytes: usize, most: usize },
    #[error("an argument holds a NUL")]
    Argument,
    #[error("the working directory `{0}` is not absolute")]
    WorkingDir(String),
    #[error(transparent)]
    Variable(#[from] EnvVarError),
    #[error(transparent)]
    StopSignal(#[from] StopSignalError),
    #[error(transparent)]
    NonRoot(#[from] NonRootError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("what its volumes hold cannot be kept: {0}")]
    Contents(String),
}

/// Where requests go.
pub(super) fn port(container: &Container, image: &PinnedImage) -> u16 {
    container.port.or(image.port).or(image.contract.port()).unwrap_or(PORT_DEFAULT)
}

/// The one TCP port that an image exposes. Of several, none is known to be the right one.
pub(super) fn only_tcp_port(exposed: &[ExposedPort]) -> Option<u16> {
    let mut ports = exposed.iter().filter(|exposed| exposed.protocol == Protocol::Tcp).map(|exposed| exposed.port);
    let first = ports.next()?;
    ports.next().is_none().then_some(first)
}

pub(super) fn payload(
    endpoint: &Endpoint,
    revision: u32,
    container: &Container,
    image: &PinnedImage,
    port: u16,
) -> Result<(ImagePayload, Vec<Contents>), ProcessError> {
    if image.layers.is_empty() {
        return Err(ProcessError::NoLayer);
    }
    if image.layers.len() > LAYERS_MAX {
        return Err(ProcessError::Layers(image.layers.len()));
    }
    container.check_non_root(&image.user)?;
    let args = arguments(container, image)?;
    let env = environment(endpoint, revision, container, image, port)?;
    let commands = commands(container);
    let bytes = args.iter().chain(commands.iter().flatten()).map(|arg| arg.len() + 1).sum::<usize>()
        + env.iter().map(|it| it.name().len() + it.value().len() + 2).sum::<usize>();
    if bytes > PROCESS_BYTES_MAX {
        return Err(ProcessError::TooLong(bytes));
    }
    let working_dir = working_dir(container, image)?;
    at_most("the working directory", &working_dir, PATH_MAX)?;
    at_most("the user", &image.user, USER_MAX)?;
    let (volumes, contents) = volumes::of(container, &endpoint.limits)?;
    let payload = ImagePayload {
        layers: image.layers.clone(),
        args,
        env,
        working_dir,
        user: ImageUser { of_image: image.user.clone(), uid: container.run_as_user, gid: container.run_as_group },
        stop_signal: image.stop_signal,
        read_only_root: container.read_only_root_filesystem,
        volumes,
        network: container.network,
        commands,
    };
    // Quoting may take six bytes for one.
    match serde_json::to_vec(&payload).map_or(usize::MAX, |message| message.len()) {
        bytes if bytes > MESSAGE_MAX => Err(ProcessError::Message(bytes)),
        _ => Ok((payload, contents)),
    }
}

fn at_most(what: &'static str, text: &str, most: usize) -> Result<(), ProcessError> {
    let bytes = text.len();
    if bytes <= most { Ok(()) } else { Err(ProcessError::Long { what, bytes, most }) }
}

/// As Kubernetes puts them together: with a command of its own, the image's arguments are left out too. What the
/// contract says is as if it were asked for.
fn arguments(container: &Container, image: &PinnedImage) -> Result<Vec<String>, ProcessError> {
    let (command, args) = match (container.command.is_empty(), container.args.is_empty()) {
        (true, true) => (&image.entrypoint, image.contract.args().unwrap_or(&image.cmd)),
        (true, false) => (&image.entrypoint, &container.args),
        (false, _) => (&container.command, &container.args),
    };
    let all: Vec<String> = command.iter().chain(args).cloned().collect();
    if all.first().is_none_or(String::is_empty) {
        return Err(ProcessError::NoCommand);
    }
    if all.iter().any(|arg| arg.contains('\0')) {
        return Err(ProcessError::Argument);
    }
    Ok(all)
}

/// What its probes run, each once.
fn commands(container: &Container) -> Vec<Vec<String>> {
    let probes = container.start_probes().chain(&container.liveness_probe);
    let mut commands: Vec<Vec<String>> = Vec::new();
    for command in probes.filter_map(|probe| probe.handler.command()) {
        if !commands.iter().any(|before| before == command) {
            commands.push(command.to_vec());
        }
    }
    commands
}

/// What the contract says, over it the image's, over that what was asked, and at last what Knative's runtime contract
/// promises a container.
fn environment(
    endpoint: &Endpoint,
    revision: u32,
    container: &Container,
    image: &PinnedImage,
    port: u16,
) -> Result<Vec<EnvVar>, ProcessError> {
    let name = endpoint.name.as_str();
    let ours = [
        ("PORT", port.to_string()),
        ("K_SERVICE", name.to_owned()),
        ("K_CONFIGURATION", name.to_owned()),
        ("K_REVISION", format!("{name}-{revision:05}")),
    ];
    let ours = ours.into_iter().filter(|_| image.contract.gives_knatives_variables());
    let ours = ours.map(|(name, value)| EnvVar::new(name.to_owned(), value));
    let ours = ours.collect::<Result<Vec<_>, _>>()?;
    let contracts = image.contract.variables(port);
    let mut env: Vec<EnvVar> = Vec::with_capacity(image.env.len() + container.env.len() + ours.len());
    for variable in contracts.iter().chain(&image.env).chain(&container.env).chain(&ours) {
        match env.iter_mut().find(|before| before.name() == variable.name()) {
            Some(before) => before.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    Ok(env)
}

fn working_dir(container: &Container, image: &PinnedImage) -> Result<String, ProcessError> {
    let asked = container.working_dir.as_deref().unwrap_or(&image.working_dir);
    match asked {
        "" => Ok("/".to_owned()),
        absolute if absolute.starts_with('/') && !absolute.contains('\0') => Ok(clean(absolute)),
        other => Err(ProcessError::WorkingDir(dormouse_spec::printable(other))),
    }
}

/// As Docker has it, by the text alone: `..` takes away what stands before it, wherever that might lead.
fn clean(absolute: &str) -> String {
    let mut parts = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Bytes, Contract, Digest, EndpointDefaults, EndpointRequest, StopSignal};

    use super::*;

    fn image() -> PinnedImage {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        PinnedImage {
            manifest: Digest::from_sha256([1; 32]),
            media_type: String::new(),
            layers: vec![Digest::from_sha256([2; 32])],
            bytes: Bytes::new(1),
            entrypoint: words(&["/entry"]),
            cmd: words(&["by", "default"]),
            env: vec![EnvVar::new("A".to_owned(), "of the image".to_owned()).unwrap()],
            working_dir: "/work".to_owned(),
            user: "nobody".to_owned(),
            stop_signal: StopSignal::TERM,
            port: Some(80),
            contract: crate::ContractChoice::default(),
        }
    }

    fn decide(contract: Contract) -> crate::ContractChoice {
        super::super::contract::decide(contract, &super::super::contract::tests::config(&[], &[]))
    }

    fn payload_of(container: &Container, image: &PinnedImage) -> Result<ImagePayload, ProcessError> {
        let request = EndpointRequest::named("hello".parse().unwrap());
        let endpoint = request.resolve(&EndpointDefaults::default(), Bytes::new(0), 2).unwrap();
        payload(&endpoint, 7, container, image, port(container, image)).map(|(payload, _)| payload)
    }

    fn container() -> Container {
        Container::of("busybox".parse().unwrap())
    }

    #[test]
    fn command_and_arguments_are_put_together_as_kubernetes_does() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let table: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["/entry", "by", "default"]),
            (&[], &["mine"], &["/entry", "mine"]),
            (&["sh"], &[], &["sh"]),
            (&["sh"], &["-c", "true"], &["sh", "-c", "true"]),
        ];
        for (command, args, expected) in table {
            let asked = Container { command: words(command), args: words(args), ..container() };
            assert_eq!(payload_of(&asked, &image()).unwrap().args, expected);
        }
        let silent = PinnedImage { entrypoint: Vec::new(), cmd: Vec::new(), ..image() };
        assert_eq!(payload_of(&container(), &silent), Err(ProcessError::NoCommand));
    }

    #[test]
    fn the_environment_is_the_images_then_what_was_asked_then_the_contracts() {
        let variable = |name: &str, value: &str| EnvVar::new(name.to_owned(), value.to_owned()).unwrap();
        let env = vec![variable("A", "asked"), variable("PORT", "1"), variable("B", "2")];
        let payload = payload_of(&Container { env, ..container() }, &image()).unwrap();
        let pairs: Vec<_> = payload.env.iter().map(|it| format!("{}={}", it.name(), it.value())).collect();
        let expected =
            ["A=asked", "PORT=80", "B=2", "K_SERVICE=hello", "K_CONFIGURATION=hello", "K_REVISION=hello-00007"];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a_port_is_the_asked_one_or_the_only_one() {
        assert_eq!(port(&container(), &image()), 80);
        assert_eq!(port(&Container { port: Some(9000), ..container() }, &image()), 9000);
        assert_eq!(port(&container(), &PinnedImage { port: None, ..image() }), 8080);
        let exposed = |port, protocol| ExposedPort { port, protocol };
        assert_eq!(only_tcp_port(&[exposed(53, Protocol::Udp), exposed(80, Protocol::Tcp)]), Some(80));
        assert_eq!(only_tcp_port(&[exposed(443, Protocol::Tcp), exposed(80, Protocol::Tcp)]), None);
    }

    #[test]
    fn a_contract_says_what_nothing_else_says() {
        let keeping_to = |contract| PinnedImage { contract: decide(contract), ..image() };
        let sagemaker = PinnedImage { port: None, ..keeping_to(Contract::SageMaker) };
        let payload = payload_of(&container(), &sagemaker).unwrap();
        assert_eq!(payload.args, ["/entry", "serve"], "as `docker run IMAGE serve`");
        let bound = payload.env.iter().find(|it| it.name() == "SAGEMAKER_BIND_TO_PORT").unwrap();
        assert_eq!(bound.value(), "8080");
        let words = vec!["mine".to_owned()];
        let own = EnvVar::new("SAGEMAKER_BIND_TO_PORT".to_owned(), "1".to_owned()).unwrap();
        let said = Container { args: words, port: Some(9000), env: vec![own.clone()], ..container() };
        let payload = payload_of(&said, &sagemaker).unwrap();
        assert_eq!(payload.args, ["/entry", "mine"]);
        assert!(payload.env.contains(&own));

        let raw = PinnedImage { port: None, ..keeping_to(Contract::Raw) };
        let payload = payload_of(&container(), &raw).unwrap();
        assert_eq!(payload.env, image().env, "nothing is added");
        assert_eq!(port(&container(), &PinnedImage { port: None, ..keeping_to(Contract::Cog) }), 5000);
        assert_eq!(port(&container(), &keeping_to(Contract::Cog)), 80, "the image's own");
    }

    #[test]
    fn what_no_message_holds_or_no_process_can_have_is_refused() {
        let long = Container { args: vec!["x".repeat(PROCESS_BYTES_MAX)], ..container() };
        assert!(matches!(payload_of(&long, &image()), Err(ProcessError::TooLong(_))));
        let quoted = Container { args: vec!["\u{1}".repeat(PROCESS_BYTES_MAX / 2)], ..container() };
        assert!(matches!(payload_of(&quoted, &image()), Err(ProcessError::Message(_))));
        let deep = PinnedImage { working_dir: format!("/{}", "a".repeat(PATH_MAX)), ..image() };
        assert!(matches!(payload_of(&container(), &deep), Err(ProcessError::Long { .. })));
        let named = PinnedImage { user: "a".repeat(USER_MAX + 1), ..image() };
        assert!(matches!(payload_of(&container(), &named), Err(ProcessError::Long { .. })));
        let nul = Container { args: vec!["\0".to_owned()], ..container() };
        assert_eq!(payload_of(&nul, &image()), Err(ProcessError::Argument));
        let relative = Container { working_dir: Some("work".to_owned()), ..container() };
        assert_eq!(payload_of(&relative, &image()), Err(ProcessError::WorkingDir("work".to_owned())));
        let winding = Container { working_dir: Some("/a/./b/../c//d/".to_owned()), ..container() };
        assert_eq!(payload_of(&winding, &image()).unwrap().working_dir, "/a/c/d");
        let climbing = PinnedImage { working_dir: "/cache/../../..".to_owned(), ..image() };
        assert_eq!(payload_of(&container(), &climbing).unwrap().working_dir, "/");
        let layers = PinnedImage { layers: vec![Digest::from_sha256([2; 32]); LAYERS_MAX + 1], ..image() };
        assert_eq!(payload_of(&container(), &layers), Err(ProcessError::Layers(LAYERS_MAX + 1)));
    }
}
