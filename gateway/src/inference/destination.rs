//! Whose a request is: an image's, which gets it as it is, or ours. Pure, like [`super::router`].

use std::net::Ipv4Addr;

use http::Method;

use super::{
    InferenceError,
    router::{Route, route},
};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination<'a, I> {
    /// Any method and any path.
    Image(I),
    Ours(Route<'a>),
}

/// `image` finds the endpoint of an image by its name or alias. The host goes before the path, so that an
/// image answers on its own host whatever it likes, and model servers are found by what they serve.
///
/// # Errors
/// Where it is ours, those of [`route`].
pub(super) fn destination<'a, I>(
    method: &Method,
    host: Option<&str>,
    path: &'a str,
    image: impl Fn(&str) -> Option<I>,
) -> Result<Destination<'a, I>, InferenceError> {
    let by_host = host.and_then(first_label).and_then(|label| of_any_case(label, &image));
    match by_host.or_else(|| image(model(path)?)) {
        Some(image) => Ok(Destination::Image(image)),
        None => route(method, path).map(Destination::Ours),
    }
}

/// Names are in lower case, hosts in any. An alias with capitals is found as it is written.
fn of_any_case<I>(label: &str, image: impl Fn(&str) -> Option<I>) -> Option<I> {
    if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return image(&label.to_ascii_lowercase()).or_else(|| image(label));
    }
    image(label)
}

/// `hello` of `hello.default.example.com:8080`. A host of one label, or an address, names no endpoint: it is
/// how the node itself is called.
fn first_label(host: &str) -> Option<&str> {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name);
    let (first, rest) = name.split_once('.')?;
    let is_name = port.bytes().all(|byte| byte.is_ascii_digit())
        && name.parse::<Ipv4Addr>().is_err()
        && !first.is_empty()
        && rest.split('.').all(|label| !label.is_empty());
    is_name.then_some(first)
}

/// The model of a path of either version of the inference protocol.
fn model(path: &str) -> Option<&str> {
    let mut segments = path.split('/').skip(1);
    let version = segments.next()?;
    if segments.next()? != "models" {
        return None;
    }
    let name = segments.next()?;
    match version {
        "v1" => name.split(':').next(),
        "v2" => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn to<'a>(host: Option<&str>, path: &'a str) -> Result<Destination<'a, String>, InferenceError> {
        let image = |name: &str| ["hello", "Alias_1"].contains(&name).then(|| name.to_owned());
        destination(&Method::GET, host, path, image)
    }

    #[test]
    fn a_host_that_begins_with_an_images_name_goes_to_it_with_any_path() {
        let hosts = ["hello.localhost", "hello.default.example.com", "HELLO.example.com:8080", "hello.example.com."];
        for host in hosts {
            for path in ["/", "", "*", "/healthz", "/metrics", "/v2", "/v2/models/m/infer", "/v1/models", "/a/b"] {
                assert_eq!(to(Some(host), path).unwrap(), Destination::Image("hello".to_owned()), "{host} {path}");
            }
        }
        assert_eq!(to(Some("Alias_1.example.com"), "/").unwrap(), Destination::Image("Alias_1".to_owned()));
    }

    #[test]
    fn any_method_goes_to_it() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            let to = destination(&method.parse().unwrap(), Some("hello.localhost"), "/healthz", |_| Some(()));
            assert_eq!(to.unwrap(), Destination::Image(()), "{method}");
        }
    }

    #[test]
    fn other_hosts_leave_it_to_the_path() {
        let hosts = [
            "hello",
            "hello:80",
            "hello.",
            "localhost",
            "other.example.com",
            "example.hello.com",
            "10.0.0.7",
            "10.0.0.7:80",
            "[::1]:80",
            "[::ffff:10.0.0.7]",
            "::ffff:10.0.0.7",
            "hello..com",
            ".hello.com",
            "hello.com:x",
            "a@hello.com",
            "",
            ".",
            ":80",
        ];
        for host in hosts {
            assert_eq!(to(Some(host), "/healthz").unwrap(), Destination::Ours(Route::Health), "{host}");
        }
        assert_eq!(to(None, "/metrics").unwrap(), Destination::Ours(Route::Metrics));
        assert!(matches!(to(Some("other.localhost"), "/a/b"), Err(InferenceError::NoSuchPath)));
    }

    #[test]
    fn an_address_is_no_name_even_where_an_endpoint_is_called_like_its_first_number() {
        for host in ["10.0.0.7", "10.0.0.7:8080"] {
            let to = destination(&Method::GET, Some(host), "/healthz", |name| (name == "10").then_some(()));
            assert_eq!(to.unwrap(), Destination::Ours(Route::Health), "{host}");
        }
    }

    #[test]
    fn paths_of_the_inference_protocols_go_to_an_image_that_they_name() {
        let paths = [
            "/v2/models/hello",
            "/v2/models/hello/ready",
            "/v2/models/hello/infer",
            "/v2/models/hello/versions/1/infer",
            "/v2/models/hello/generate_stream",
            "/v2/models/hello/",
            "/v1/models/hello",
            "/v1/models/hello:predict",
            "/v1/models/hello:explain",
            "/v1/models/hello/metadata",
        ];
        for host in [None, Some("edge:8080"), Some("10.0.0.7")] {
            for path in paths {
                assert_eq!(to(host, path).unwrap(), Destination::Image("hello".to_owned()), "{path}");
            }
        }
    }

    #[test]
    fn paths_of_anything_else_stay_what_they_were() {
        for path in
            ["/v1/models", "/v1/models/", "/v1/models/other:predict", "/v3/models/hello", "/models/hello", "/v1/hello"]
        {
            assert!(matches!(to(None, path), Err(InferenceError::NoSuchPath)), "{path}");
        }
        assert!(matches!(to(None, "/v2/models/hello:predict"), Ok(Destination::Ours(Route::ModelMetadata(_)))));
        assert!(matches!(to(None, "/v2/models/other"), Ok(Destination::Ours(Route::ModelMetadata(_)))));
        assert_eq!(to(None, "/v2/models").unwrap(), Destination::Ours(Route::Models));
    }
}
