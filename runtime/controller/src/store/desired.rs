use dormouse_spec::{Bytes, Digest, EndpointRequest};
use serde::{Deserialize, Serialize};

use super::SCHEMA;
use crate::{Metadata, Preparation, revision::PinnedImage};

/// What an endpoint is to be: what was asked, and what it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Desired {
    pub(crate) request: EndpointRequest,
    pub(crate) revision: u32,
    pub(crate) content: DesiredContent,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DesiredContent {
    Model(Box<DesiredModel>),
    Image(Box<PinnedImage>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DesiredModel {
    pub(crate) model: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) metadata: Metadata,
    /// Absent in files of versions that prepared no models.
    pub(crate) preparation: Option<Preparation>,
    /// What it was, or is to be, verified on.
    pub(crate) sample: Option<String>,
}

/// Why a file is no desired state though it is JSON of its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("it names neither a model nor an image")]
    Neither,
    #[error("it names a model and an image")]
    Both,
    #[error("its request and what was deployed are not the same kind of endpoint")]
    Other,
}

/// As it lies on the disk; a file of a version that knew only models is one with a model.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    request: EndpointRequest,
    revision: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_bytes: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preparation: Option<Preparation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<PinnedImage>,
}

impl TryFrom<Written> for Desired {
    type Error = ContentError;

    fn try_from(written: Written) -> Result<Self, ContentError> {
        let Written { request, revision, model, model_bytes, metadata, preparation, sample, image, .. } = written;
        let content = match (model, image) {
            (Some(model), None) => DesiredContent::Model(Box::new(DesiredModel {
                model,
                bytes: model_bytes.unwrap_or_default(),
                metadata: metadata.unwrap_or_default(),
                preparation,
                sample,
            })),
            (None, Some(image)) => DesiredContent::Image(Box::new(image)),
            (None, None) => return Err(ContentError::Neither),
            (Some(_), Some(_)) => return Err(ContentError::Both),
        };
        if request.container.is_some() != matches!(content, DesiredContent::Image(_)) {
            return Err(ContentError::Other);
        }
        Ok(Self { request, revision, content })
    }
}

impl From<Desired> for Written {
    fn from(Desired { request, revision, content }: Desired) -> Self {
        let nothing = Self {
            schema: SCHEMA,
            request,
            revision,
            model: None,
            model_bytes: None,
            metadata: None,
            preparation: None,
            sample: None,
            image: None,
        };
        match content {
            DesiredContent::Image(image) => Self { image: Some(*image), ..nothing },
            DesiredContent::Model(of) => {
                let DesiredModel { model, bytes, metadata, preparation, sample } = *of;
                let (model, model_bytes, metadata) = (Some(model), Some(bytes), Some(metadata));
                Self { model, model_bytes, metadata, preparation, sample, ..nothing }
            }
        }
    }
}

impl Desired {
    pub(crate) fn model(&self) -> Option<&DesiredModel> {
        match &self.content {
            DesiredContent::Model(model) => Some(model),
            DesiredContent::Image(_) => None,
        }
    }

    pub(crate) fn model_mut(&mut self) -> Option<&mut DesiredModel> {
        match &mut self.content {
            DesiredContent::Model(model) => Some(model),
            DesiredContent::Image(_) => None,
        }
    }

    pub(crate) fn image(&self) -> Option<&PinnedImage> {
        match &self.content {
            DesiredContent::Image(image) => Some(image),
            DesiredContent::Model(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Container, StopSignal};
    use serde_json::{Value, json};

    use super::*;

    fn of_an_image() -> Desired {
        let request = EndpointRequest {
            container: Some(Box::new(Container::of("busybox".parse().unwrap()))),
            ..EndpointRequest::named("hello".parse().unwrap())
        };
        let image = PinnedImage {
            manifest: Digest::from_sha256([1; 32]),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            layers: vec![Digest::from_sha256([2; 32])],
            bytes: Bytes::new(5),
            entrypoint: Vec::new(),
            cmd: vec!["httpd".to_owned()],
            env: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            stop_signal: StopSignal::TERM,
            port: Some(80),
            contract: crate::ContractChoice::default(),
        };
        Desired { request, revision: 2, content: DesiredContent::Image(Box::new(image)) }
    }

    #[test]
    fn an_image_reads_back_as_it_was_written() {
        let desired = of_an_image();
        let text = serde_json::to_string(&desired).unwrap();
        assert_eq!(serde_json::from_str::<Desired>(&text).unwrap(), desired);
        assert!(!text.contains("\"model\""));
    }

    #[test]
    fn what_contradicts_itself_is_no_state() {
        let good = serde_json::to_value(of_an_image()).unwrap();
        let digest = json!(Digest::from_sha256([3; 32]));
        type Change = fn(&mut Value, Value);
        let table: [(Change, &str); 3] = [
            (|value, digest| value["model"] = digest, "a model and an image"),
            (|value, _| drop(value.as_object_mut().unwrap().remove("image")), "neither"),
            (|value, _| drop(value["request"].as_object_mut().unwrap().remove("container")), "not the same kind"),
        ];
        for (change, told) in table {
            let mut value = good.clone();
            change(&mut value, digest.clone());
            let error = serde_json::from_value::<Desired>(value).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
