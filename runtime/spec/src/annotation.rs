use std::{str::FromStr, time::Duration};

use crate::{ContractError, DurationError, EndpointRequest, NetworkError, QuantityError, parse_duration};

/// Settings that the standard manifests have no field for are annotations under this prefix, each
/// the kebab-case name of a setting: `dormouse.dev/freeze-after: 30s`.
pub const ANNOTATION_PREFIX: &str = "dormouse.dev/";

/// Every setting an annotation can make: those of [`EndpointDefaults`](crate::EndpointDefaults).
pub const ANNOTATION_KEYS: [&str; 15] = [
    "container-concurrency",
    "cpu",
    "drain-deadline",
    "freeze-after",
    "intra-op-threads",
    "keep-template",
    "max-replicas",
    "memory",
    "min-replicas",
    "pids",
    "queue-waiters-max",
    "start-deadline",
    "timeout",
    "tmp",
    "zero-after",
];

/// Settings of a container, which an annotation can make of images alone.
pub const ANNOTATION_KEYS_OF_IMAGES: [&str; 2] = ["contract", "network"];

/// Settings of the built-in worker, which an image does not have.
const FOR_MODELS: [&str; 2] = ["intra-op-threads", "keep-template"];

/// Why an annotation makes no setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    #[error("there is no such setting")]
    Unknown,
    #[error("the setting is made twice: by this annotation and by the field the standard has for it")]
    Twice,
    #[error("the setting is for models: what an image does with its threads and its memory is its own")]
    ForModels,
    #[error("the setting is for images: a model is served by the node's own worker, which reaches nothing")]
    ForImages,
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error("`{0}` is not a whole number from 0 to {max}", max = u32::MAX)]
    NotANumber(String),
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl EndpointRequest {
    /// Makes the setting that `key`, an annotation's name without [`ANNOTATION_PREFIX`], stands for.
    /// Whether the value is within its bounds is checked when the endpoint is resolved.
    ///
    /// # Errors
    /// See [`AnnotationError`]; the request is then unchanged.
    pub fn annotate(&mut self, key: &str, text: &str) -> Result<(), AnnotationError> {
        if self.container.is_some() && FOR_MODELS.contains(&key) {
            return Err(AnnotationError::ForModels);
        }
        match key {
            "container-concurrency" => once(&mut self.container_concurrency, count(text)?),
            "contract" => {
                let container = self.container.as_deref_mut().ok_or(AnnotationError::ForImages)?;
                container.contract = text.parse()?;
                Ok(())
            }
            "cpu" => once(&mut self.cpu, quantity(text)?),
            "drain-deadline" => once(&mut self.drain_deadline, duration(text)?),
            "freeze-after" => once(&mut self.freeze_after, duration(text)?),
            "intra-op-threads" => once(&mut self.intra_op_threads, count(text)?),
            "keep-template" => once(&mut self.keep_template, duration(text)?),
            "max-replicas" => once(&mut self.max_replicas, count(text)?),
            "memory" => once(&mut self.memory, quantity(text)?),
            "min-replicas" => once(&mut self.min_replicas, count(text)?),
            "network" => {
                let container = self.container.as_deref_mut().ok_or(AnnotationError::ForImages)?;
                container.network = text.parse()?;
                Ok(())
            }
            "pids" => once(&mut self.pids, count(text)?),
            "queue-waiters-max" => once(&mut self.queue_waiters_max, count(text)?),
            "start-deadline" => once(&mut self.start_deadline, duration(text)?),
            "timeout" => once(&mut self.timeout, duration(text)?),
            "tmp" => once(&mut self.tmp, quantity(text)?),
            "zero-after" => once(&mut self.zero_after, duration(text)?),
            _ => Err(AnnotationError::Unknown),
        }
    }
}

fn once<T>(setting: &mut Option<T>, value: T) -> Result<(), AnnotationError> {
    if setting.is_some() {
        return Err(AnnotationError::Twice);
    }
    *setting = Some(value);
    Ok(())
}

fn count(text: &str) -> Result<u32, AnnotationError> {
    text.parse().map_err(|_| AnnotationError::NotANumber(text.to_owned()))
}

fn quantity<T: FromStr<Err = QuantityError>>(text: &str) -> Result<T, AnnotationError> {
    Ok(text.parse()?)
}

fn duration(text: &str) -> Result<Duration, AnnotationError> {
    Ok(parse_duration(text)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Container, EndpointDefaults, Network};

    fn request() -> EndpointRequest {
        EndpointRequest::named("demo".parse().unwrap())
    }

    #[test]
    fn every_default_has_its_annotation() {
        let defaults = serde_json::to_value(EndpointDefaults::default()).unwrap();
        let mut settings: Vec<_> = defaults.as_object().unwrap().keys().map(|key| key.replace('_', "-")).collect();
        settings.sort();
        assert_eq!(settings, ANNOTATION_KEYS);
    }

    #[test]
    fn every_key_sets_the_field_of_its_name() {
        for key in ANNOTATION_KEYS {
            let mut request = request();
            let text = ["7", "7s"].into_iter().find(|text| request.annotate(key, text).is_ok());
            assert!(text.is_some(), "{key}");
            let json = serde_json::to_value(&request).unwrap();
            let set = json.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
            let set: Vec<_> = set.map(|(field, _)| field.replace('_', "-")).filter(|field| field != "name").collect();
            assert_eq!(set, [key]);
        }
    }

    #[test]
    fn what_makes_no_setting_is_an_error() {
        let mut request = EndpointRequest { timeout: Some(Duration::from_secs(1)), ..request() };
        let before = request.clone();
        assert_eq!(request.annotate("freezeafter", "1s"), Err(AnnotationError::Unknown));
        assert_eq!(request.annotate("timeout", "1s"), Err(AnnotationError::Twice));
        for (key, text) in
            [("pids", "-1"), ("pids", "4294967296"), ("freeze-after", "10"), ("tmp", "1 GB"), ("cpu", "")]
        {
            assert!(request.annotate(key, text).is_err(), "{key}: {text}");
        }
        assert_eq!(request, before);
    }

    #[test]
    fn settings_of_the_built_in_worker_are_not_for_images() {
        let container = Container::of("busybox".parse().unwrap());
        let mut request = EndpointRequest { container: Some(Box::new(container)), ..request() };
        for key in FOR_MODELS {
            assert_eq!(request.annotate(key, "1"), Err(AnnotationError::ForModels), "{key}");
        }
        assert_eq!(request.annotate("pids", "64"), Ok(()));
    }

    #[test]
    fn settings_of_a_container_are_for_images() {
        for key in ANNOTATION_KEYS_OF_IMAGES {
            assert_eq!(request().annotate(key, "none"), Err(AnnotationError::ForImages), "{key}");
        }
        let container = Container::of("busybox".parse().unwrap());
        let mut request = EndpointRequest { container: Some(Box::new(container)), ..request() };
        for (text, network) in [("egress", Network::Egress), ("none", Network::None)] {
            assert_eq!(request.annotate("network", text), Ok(()));
            assert_eq!(request.container.as_ref().unwrap().network, network);
        }
        let error = request.annotate("network", "host").unwrap_err();
        assert_eq!(error.to_string(), "`host` is not a network: there are `none` and `egress`");
    }

    #[test]
    fn a_contract_is_that_of_an_image() {
        let mut model = request();
        assert_eq!(model.annotate("contract", "raw"), Err(AnnotationError::ForImages));
        let container = Some(Box::new(Container::of("busybox".parse().unwrap())));
        let mut image = EndpointRequest { container, ..request() };
        image.annotate("contract", "sagemaker").unwrap();
        assert_eq!(image.container.as_ref().unwrap().contract, crate::Contract::SageMaker);
        assert!(matches!(image.annotate("contract", "SageMaker"), Err(AnnotationError::Contract(_))));
    }
}
