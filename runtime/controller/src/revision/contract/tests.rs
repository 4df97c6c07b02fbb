use std::collections::BTreeMap;

use dormouse_image::oci::Platform;

use super::*;

pub(crate) fn config(variables: &[&str], labels: &[&str]) -> ImageConfig {
    ImageConfig {
        platform: Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None },
        diff_ids: Vec::new(),
        user: String::new(),
        env: variables.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        working_dir: String::new(),
        exposed_ports: Vec::new(),
        stop_signal: None,
        labels: labels.iter().map(|name| ((*name).to_owned(), "true".to_owned())).collect::<BTreeMap<_, _>>(),
    }
}

/// Its variables and labels, then the contract with its port, and why.
type Case = (&'static [&'static str], &'static [&'static str], Contract, Option<u16>, &'static str);

#[test]
fn what_an_image_says_decides_and_why_is_told() {
    const BIND: &str = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port";
    let table: [Case; 9] = [
        (&["PATH"], &["maintainer"], Contract::Knative, Some(8080), "nothing says otherwise"),
        (&[], &["run.cog.version"], Contract::Cog, Some(5000), "begins with `run.cog.`"),
        (&[], &["org.cogmodel.config"], Contract::Cog, Some(5000), "begins with `org.cogmodel.`"),
        (&["fprocess"], &[], Contract::OpenFaaS, Some(8080), "the image's variable `fprocess`"),
        (
            &["MLFLOW_DISABLE_ENV_CREATION"],
            &[],
            Contract::MLflow,
            Some(8080),
            "the image's variable `MLFLOW_DISABLE_ENV_CREATION`",
        ),
        (&[], &[BIND], Contract::SageMaker, Some(8080), "accept-bind-to-port"),
        // Triton's image says both.
        (&["TRITON_SERVER_VERSION"], &[BIND], Contract::KServe, Some(8000), "`TRITON_SERVER_VERSION`"),
        (&["MLSERVER_MODELS_DIR"], &[], Contract::KServe, Some(8080), "`MLSERVER_MODELS_DIR`"),
        (&["NOT_fprocess"], &["xrun.cog.version"], Contract::Knative, Some(8080), "nothing"),
    ];
    for (variables, labels, contract, port, why) in table {
        let choice = decide(Contract::Auto, &config(variables, labels));
        assert_eq!((choice.contract, choice.port), (contract, port), "{variables:?} {labels:?}");
        assert!(choice.why.contains(why), "{}", choice.why);
    }
}

#[test]
fn what_was_asked_for_goes_before_what_the_image_says() {
    let choice = decide(Contract::Raw, &config(&["fprocess"], &[]));
    assert_eq!((choice.contract, choice.port, choice.readiness()), (Contract::Raw, None, Probe::tcp()));
    assert!(!choice.gives_knatives_variables());
    let kserve = decide(Contract::KServe, &config(&[], &[]));
    let ready = ProbeHandler::HttpGet { port: None, path: "/v2/health/ready".to_owned(), headers: Vec::new() };
    assert_eq!(kserve.readiness(), Probe::with(ready));
}

#[test]
fn every_contract_but_auto_has_its_terms() {
    for contract in Contract::ALL.into_iter().filter(|contract| *contract != Contract::Auto) {
        assert!(TERMS.iter().any(|terms| terms.contract == contract), "{contract}");
    }
}

#[test]
fn the_deadline_of_a_drain_is_the_contracts_where_none_was_asked_for() {
    let sagemaker = decide(Contract::SageMaker, &config(&[], &[]));
    let mut request = EndpointRequest::named("a".parse().unwrap_or_else(|_| panic!("it is a name")));
    sagemaker.fill(&mut request);
    assert_eq!(request.drain_deadline, Some(Duration::from_secs(30)));
    let asked = Some(Duration::from_secs(5));
    request.drain_deadline = asked;
    sagemaker.fill(&mut request);
    assert_eq!(request.drain_deadline, asked);
}
