//! What the protocol tells about the server and its models. Pure: snapshots in, JSON out.

use dormouse_controller::{Condition, EndpointView};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a client may ask of [`index`].
#[derive(Debug, Default, Deserialize)]
pub(super) struct IndexFilter {
    /// Only models that take requests.
    #[serde(default)]
    ready: bool,
}

pub(super) fn server_metadata() -> Value {
    json!({ "name": "dormouse", "version": env!("CARGO_PKG_VERSION"), "extensions": ["binary_tensor_data"] })
}

/// What a model's deploy told, under the endpoint's own name and version. `None` while the first
/// revision is being deployed.
pub(super) fn model_metadata(view: &EndpointView) -> Option<Value> {
    let Value::Object(mut metadata) = view.metadata.value() else { return None };
    metadata.insert("name".to_owned(), json!(view.endpoint.name));
    metadata.insert("versions".to_owned(), json!([view.revision.to_string()]));
    Some(Value::Object(metadata))
}

pub(super) fn model_ready(view: &EndpointView) -> Value {
    json!({ "name": view.endpoint.name, "ready": true })
}

/// Why requests are not taken, or `None` where they are: at zero replicas too, since a request
/// wakes one.
pub(super) fn not_ready(view: &EndpointView) -> Option<&'static str> {
    match view.condition {
        Condition::Ready => None,
        Condition::Deploying => Some("it is being deployed"),
        Condition::Failed => Some("its last start or deploy failed"),
        Condition::Draining => Some("it is draining"),
    }
}

/// An image may serve a model or anything else: nobody knows before it is asked.
fn is_model(view: &&EndpointView) -> bool {
    !view.is_image
}

pub(super) fn models<'a>(views: impl Iterator<Item = &'a EndpointView>) -> Value {
    json!({ "models": views.filter(is_model).map(|view| &view.endpoint.name).collect::<Vec<_>>() })
}

pub(super) fn index<'a>(views: impl Iterator<Item = &'a EndpointView>, filter: &IndexFilter) -> Value {
    let is_wanted = |view: &&EndpointView| !filter.ready || view.condition == Condition::Ready;
    views.filter(is_model).filter(is_wanted).map(index_entry).collect()
}

fn index_entry(view: &EndpointView) -> Value {
    let state = match view.condition {
        Condition::Ready => "READY",
        Condition::Deploying => "LOADING",
        Condition::Failed => "UNAVAILABLE",
        Condition::Draining => "UNLOADING",
    };
    let mut entry = json!({ "name": view.endpoint.name, "state": state, "reason": not_ready(view).unwrap_or("") });
    if view.revision > 0 {
        entry["version"] = json!(view.revision.to_string());
    }
    entry
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::{Bytes, EndpointDefaults, EndpointRequest};

    use super::*;

    fn view(name: &str, revision: u32, condition: Condition) -> EndpointView {
        let request = EndpointRequest::named(name.parse().unwrap());
        let metadata = json!({ "name": "model", "versions": ["1"], "platform": "onnx_onnxv1", "inputs": [] });
        EndpointView {
            endpoint: request.resolve(&EndpointDefaults::default(), Bytes::new(1), 2).unwrap().into(),
            revision,
            model: None,
            model_bytes: Bytes::new(1),
            is_image: false,
            image: None,
            preparation: None,
            metadata: if revision == 0 { Value::Null } else { metadata }.into(),
            condition,
            replicas: Vec::new(),
            template: dormouse_controller::TemplateUse::Off,
            templates: Vec::new(),
            waiters: 0,
            last_failure: None,
            wakes: Vec::new(),
        }
    }

    #[test]
    fn metadata_carries_the_endpoints_name_and_revision() {
        let metadata = model_metadata(&view("m", 3, Condition::Ready)).unwrap();
        assert_eq!(metadata, json!({ "name": "m", "versions": ["3"], "platform": "onnx_onnxv1", "inputs": [] }));
        assert_eq!(model_metadata(&view("m", 0, Condition::Deploying)), None);
    }

    #[test]
    fn an_image_is_no_model_that_is_listed() {
        let image = dormouse_controller::ServedImage {
            reference: "example.com/hello".parse().unwrap(),
            manifest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            bytes: Bytes::new(1),
            port: 8080,
            app_protocol: dormouse_spec::AppProtocol::Http1,
            contract: dormouse_controller::ContractChoice::default(),
        };
        let views = [
            view("m", 1, Condition::Ready),
            EndpointView { is_image: true, image: Some(image), ..view("i", 1, Condition::Ready) },
        ];
        assert_eq!(models(views.iter()), json!({ "models": ["m"] }));
        let index = index(views.iter(), &IndexFilter::default());
        assert_eq!(index.as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_model_with_no_replica_is_ready_and_the_index_tells_every_state() {
        let views = [
            view("a", 1, Condition::Ready),
            view("b", 0, Condition::Deploying),
            view("c", 2, Condition::Failed),
            view("d", 1, Condition::Draining),
        ];
        assert_eq!(not_ready(&views[0]), None);
        let all = index(views.iter(), &IndexFilter::default());
        let states: Vec<&str> = all.as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["READY", "LOADING", "UNAVAILABLE", "UNLOADING"]);
        assert_eq!(all[0]["version"], "1");
        assert!(all[1].get("version").is_none());
        let ready = index(views.iter(), &IndexFilter { ready: true });
        assert_eq!(ready.as_array().unwrap().len(), 1);
    }
}
