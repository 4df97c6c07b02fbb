use std::{error::Error, io, sync::Arc};

use dormouse_spec::Registry;
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{AUTHORIZATION, LOCATION},
    redirect::Policy,
};
use rustls::{ClientConfig, InvalidMessage, RootCertStore, crypto::ring};
use tokio::time::timeout;

use crate::shown::shown;

use super::{
    ClientError, Failure, RegistrySettings,
    body::Body,
    resolver::{ResolveError, SystemResolver},
};

/// Idle connections that are kept to one host: about as many as layers are pulled at once.
const IDLE_CONNECTIONS_MAX: usize = 4;
const USER_AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// Sends requests and follows redirects. What is secret never leaves the origin it was meant for.
#[derive(Debug)]
pub(super) struct Transport {
    http: Client,
    settings: RegistrySettings,
}

impl Transport {
    pub(super) fn new(settings: RegistrySettings, roots: RootCertStore) -> Result<Self, ClientError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(SystemResolver)
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // Both are decided here, where it is known what may be sent again and to whom.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self { http, settings })
    }

    pub(super) fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    pub(super) fn body(&self, response: Response) -> Body {
        Body::new(response, self.settings.stall_timeout)
    }

    /// A request that posts a form.
    pub(super) fn form(&self, url: Url, form: &[(&str, &str)]) -> Result<Request, Failure> {
        self.http.post(url).form(form).build().map_err(|source| Failure::Broken { source })
    }

    /// The answer to a request, wherever redirects led. Only what was asked with GET is followed.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        let mut redirects = 0;
        loop {
            let next = follower(&request);
            let from = request.url().clone();
            let response = self.send_once(request).await?;
            let (Some(mut next), Some(to)) = (next, redirection(&response)) else { return Ok(response) };
            let url = from.join(&to).map_err(|_| Failure::Redirect { to: shown(&to), why: "it is no address" })?;
            // The rest of an address may let whoever has it read the blob.
            let refused =
                |why| Failure::Redirect { to: shown(&format!("{}://{}", url.scheme(), url.authority())), why };
            if redirects == self.settings.redirects_max {
                return Err(refused("there were too many before it"));
            }
            if url.origin() != from.origin() {
                if !self.is_safe(&url) {
                    return Err(refused("it leads to plain HTTP, and the host is not listed as an insecure registry"));
                }
                next.headers_mut().remove(AUTHORIZATION);
            }
            *next.url_mut() = url;
            request = next;
            redirects += 1;
        }
    }

    async fn send_once(&self, request: Request) -> Result<Response, Failure> {
        let host = request.url().authority().to_owned();
        let patience = self.settings.connect_timeout + self.settings.stall_timeout;
        timeout(patience, self.http.execute(request))
            .await
            .map_err(|_| Failure::Stalled { after: patience })?
            .map_err(|source| explain(source, host))
    }

    fn is_safe(&self, url: &Url) -> bool {
        let listed = || url.authority().parse::<Registry>().is_ok_and(|host| self.settings.insecure.contains(&host));
        url.scheme() == "https" || url.scheme() == "http" && listed()
    }
}

/// The same request for the next place. A form may hold a secret and is never sent on.
fn follower(request: &Request) -> Option<Request> {
    if request.method() == Method::GET { request.try_clone() } else { None }
}

fn redirection(response: &Response) -> Option<String> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => response.headers().get(LOCATION)?.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Which of the things that can go wrong before an answer this is.
fn explain(source: reqwest::Error, host: String) -> Failure {
    // Addresses of blobs carry signatures that let whoever has them read the blob.
    let source = source.without_url();
    if let Some(resolve) = find::<ResolveError>(&source) {
        return Failure::Resolve { source: resolve.to_io() };
    }
    match find::<rustls::Error>(&source) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Failure::PlainHttp { host },
        Some(_) => Failure::Tls { source },
        None if source.is_connect() => Failure::Connect { source },
        None => Failure::Broken { source },
    }
}

/// The error of this type among the causes of another. An `io::Error` hides what it was made of
/// from its chain of causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inside {
        Some(inside) => find(inside),
        None => error.source().and_then(find),
    }
}
