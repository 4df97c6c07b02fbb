//! Paths of the Open Inference Protocol V2. Pure: a method and a path in, a route out.

use http::Method;

use super::InferenceError;

/// A model as a path names it: by endpoint name or alias, and perhaps with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelPath<'a> {
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// The process lives: for supervisors.
    Health,
    Metrics,
    ServerMetadata,
    ServerLive,
    ServerReady,
    Models,
    RepositoryIndex,
    ModelMetadata(ModelPath<'a>),
    ModelReady(ModelPath<'a>),
    Infer(ModelPath<'a>),
    /// Part of the protocol or of Triton's extensions, and answered with 501.
    NotServed(&'static str),
}

const READ: &str = "GET, HEAD";
const WRITE: &str = "POST";

/// # Errors
/// [`InferenceError::NoSuchPath`] and [`InferenceError::Method`].
pub(super) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, InferenceError> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (route, allow) = match segments.as_slice() {
        ["healthz"] => (Route::Health, READ),
        ["metrics"] => (Route::Metrics, READ),
        ["v2", rest @ ..] => protocol(rest)?,
        _ => return Err(InferenceError::NoSuchPath),
    };
    let allowed = if allow == READ { method == Method::GET || method == Method::HEAD } else { method == Method::POST };
    if allowed { Ok(route) } else { Err(InferenceError::Method { allow }) }
}

fn protocol<'a>(segments: &[&'a str]) -> Result<(Route<'a>, &'static str), InferenceError> {
    Ok(match *segments {
        [] | [""] => (Route::ServerMetadata, READ),
        ["health", "live"] => (Route::ServerLive, READ),
        ["health", "ready"] => (Route::ServerReady, READ),
        ["models"] => (Route::Models, READ),
        ["models", "stats"] => (Route::NotServed("the statistics extension"), READ),
        ["repository", "index"] => (Route::RepositoryIndex, WRITE),
        ["repository", "models", _, "load" | "unload"] => (Route::NotServed("loading and unloading by request"), WRITE),
        ["models", name, "versions", version, ref operation @ ..] => {
            model(ModelPath { name, version: Some(version) }, operation)?
        }
        ["models", name, ref operation @ ..] => model(ModelPath { name, version: None }, operation)?,
        _ => return Err(InferenceError::NoSuchPath),
    })
}

fn model<'a>(path: ModelPath<'a>, operation: &[&str]) -> Result<(Route<'a>, &'static str), InferenceError> {
    Ok(match operation {
        [] => (Route::ModelMetadata(path), READ),
        ["ready"] => (Route::ModelReady(path), READ),
        ["infer"] => (Route::Infer(path), WRITE),
        ["config"] => (Route::NotServed("the model configuration extension"), READ),
        ["stats"] => (Route::NotServed("the statistics extension"), READ),
        ["generate" | "generate_stream"] => (Route::NotServed("the generate extension"), WRITE),
        _ => return Err(InferenceError::NoSuchPath),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const fn model(name: &str) -> ModelPath<'_> {
        ModelPath { name, version: None }
    }

    const fn version<'a>(name: &'a str, version: &'a str) -> ModelPath<'a> {
        ModelPath { name, version: Some(version) }
    }

    #[test]
    fn every_path_of_the_protocol_has_its_route() {
        let table = [
            ("GET", "/healthz", Route::Health),
            ("GET", "/metrics", Route::Metrics),
            ("GET", "/v2", Route::ServerMetadata),
            ("GET", "/v2/", Route::ServerMetadata),
            ("HEAD", "/v2/health/live", Route::ServerLive),
            ("GET", "/v2/health/ready", Route::ServerReady),
            ("GET", "/v2/models", Route::Models),
            ("POST", "/v2/repository/index", Route::RepositoryIndex),
            ("GET", "/v2/models/m", Route::ModelMetadata(model("m"))),
            ("GET", "/v2/models/m/versions/v10", Route::ModelMetadata(version("m", "v10"))),
            ("GET", "/v2/models/m/ready", Route::ModelReady(model("m"))),
            ("GET", "/v2/models/m/versions/1/ready", Route::ModelReady(version("m", "1"))),
            ("POST", "/v2/models/Silero_VAD.v5/infer", Route::Infer(model("Silero_VAD.v5"))),
            ("POST", "/v2/models/m/versions/1/infer", Route::Infer(version("m", "1"))),
            ("POST", "/v2/models/versions/infer", Route::Infer(model("versions"))),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(&method.parse().unwrap(), path).unwrap(), expected, "{method} {path}");
        }
    }

    #[test]
    fn known_operations_that_are_not_served_say_so() {
        let table = [
            ("POST", "/v2/repository/models/m/load"),
            ("POST", "/v2/repository/models/m/unload"),
            ("GET", "/v2/models/m/config"),
            ("GET", "/v2/models/m/versions/1/stats"),
            ("GET", "/v2/models/stats"),
            ("POST", "/v2/models/m/generate"),
            ("POST", "/v2/models/m/generate_stream"),
        ];
        for (method, path) in table {
            assert!(matches!(route(&method.parse().unwrap(), path), Ok(Route::NotServed(_))), "{method} {path}");
        }
    }

    #[test]
    fn what_is_no_path_or_takes_another_method_is_refused() {
        for path in ["", "/", "v2", "/v1/models", "/v2/models/m/infer/", "/v2/models/m/versions/1/x", "/v2/health", "*"]
        {
            assert!(matches!(route(&Method::GET, path), Err(InferenceError::NoSuchPath)), "{path}");
        }
        for (method, path, allow) in [
            ("GET", "/v2/models/m/infer", "POST"),
            ("POST", "/v2/models/m", "GET, HEAD"),
            ("DELETE", "/healthz", "GET, HEAD"),
            ("GET", "/v2/repository/index", "POST"),
        ] {
            let error = route(&method.parse().unwrap(), path).unwrap_err();
            assert!(matches!(error, InferenceError::Method { allow: told } if told == allow), "{method} {path}");
        }
    }
}
