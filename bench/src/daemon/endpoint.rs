use crate::{Failure, models::Model};

/// How an endpoint is deployed; what is not said is the daemon's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndpointSettings {
    /// Keys of `dormouse.dev/`, and their values.
    pub(crate) annotations: Vec<(&'static str, String)>,
    pub(crate) min_replicas: u32,
    pub(crate) max_replicas: Option<u32>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) memory: Option<&'static str>,
}

impl EndpointSettings {
    /// Frozen and at zero after so long without a request.
    pub(crate) fn resting(freeze_after: &str, zero_after: &str) -> Self {
        Self::default().annotated("freeze-after", freeze_after).annotated("zero-after", zero_after)
    }

    pub(crate) fn annotated(mut self, key: &'static str, value: &str) -> Self {
        self.annotations.push((key, value.to_owned()));
        self
    }

    pub(crate) fn manifest(&self, name: &str, model: &Model) -> Result<String, Failure> {
        let number =
            |key: &str, value: Option<u32>| value.map(|value| format!("    {key}: {value}\n")).unwrap_or_default();
        let numbers = [
            number("minReplicas", Some(self.min_replicas)),
            number("maxReplicas", self.max_replicas),
            number("containerConcurrency", self.concurrency),
        ];
        let resources = self.memory.map(|memory| format!("      resources: {{limits: {{memory: {memory}}}}}\n"));
        Ok(format!(
            "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: {name}\n{}spec:\n  \
             predictor:\n{}    model:\n      modelFormat: {{name: onnx}}\n      protocolVersion: v2\n      storageUri: \
             file://{}\n{}",
            self.annotation_lines(),
            numbers.concat(),
            model.path.canonicalize()?.display(),
            resources.unwrap_or_default()
        ))
    }
    /// Of one container that runs the image as it is.
    pub(crate) fn manifest_of_image(&self, name: &str, image: &str) -> String {
        let annotations = self.annotation_lines();
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{annotations}spec:\n  containers:\n    - name: {name}\n      \
             image: {image}\n"
        )
    }

    fn annotation_lines(&self) -> String {
        let lines: String =
            self.annotations.iter().map(|(key, value)| format!("    dormouse.dev/{key}: \"{value}\"\n")).collect();
        if lines.is_empty() { lines } else { format!("  annotations:\n{lines}") }
    }
}
