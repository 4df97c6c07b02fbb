use std::sync::{Mutex, PoisonError};

use dormouse_spec::Registry;
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};

use super::{
    Credentials, Failure,
    authorization::{Authorization, basic},
    challenge::Challenge,
    error::Detail,
    refusal::detail,
    token::fetch_token,
    transport::Transport,
};

/// Where Docker Hub answers to the distribution API.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A registry or a mirror of one, as somewhere to read one repository from: with its own
/// credentials and the token that they were good for.
#[derive(Debug)]
pub(super) struct Origin {
    registry: Registry,
    repository: String,
    insecure: bool,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<Authorization>>,
}

impl Origin {
    pub(super) fn new(registry: Registry, repository: &str, insecure: bool, credentials: Option<Credentials>) -> Self {
        Self { registry, repository: repository.to_owned(), insecure, credentials, authorization: Mutex::default() }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn is_insecure(&self) -> bool {
        self.insecure
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The answer to a GET of `path` beneath the repository, the registry having been told who
    /// asks if it wants to know. A token that is refused is replaced once.
    pub(super) async fn get(&self, transport: &Transport, path: &str, headers: HeaderMap) -> Result<Response, Failure> {
        let mut request = Request::new(Method::GET, self.url(path)?);
        *request.headers_mut() = headers;
        if let Some(authorization) = self.known() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let mut again = Request::new(Method::GET, request.url().clone());
        *again.headers_mut() = request.headers().clone();
        let ours = again.url().origin();
        // Whoever a redirect led to has no claim to these credentials.
        let asks_who = |answer: &Response| answer.status() == StatusCode::UNAUTHORIZED && answer.url().origin() == ours;
        let response = transport.send(request).await?;
        if !asks_who(&response) {
            return Ok(response);
        }
        let authorization = self.answer(transport, response).await?;
        again.headers_mut().insert(AUTHORIZATION, authorization.header());
        let response = transport.send(again).await?;
        if asks_who(&response) {
            return Err(self.unauthorized(detail(transport, response).await));
        }
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(response)
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let scheme = if self.insecure { "http" } else { "https" };
        let host = if self.registry.is_docker_hub() { DOCKER_HUB_HOST } else { self.registry.as_str() };
        Url::parse(&format!("{scheme}://{host}/v2/{}/{path}", self.repository))
            .map_err(|_| Failure::Address { host: host.to_owned() })
    }

    fn known(&self) -> Option<HeaderValue> {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|known| known.is_alive()).map(Authorization::header)
    }

    async fn answer(&self, transport: &Transport, response: Response) -> Result<Authorization, Failure> {
        match (Challenge::read(response.headers())?, &self.credentials) {
            (Challenge::Bearer { realm, service }, _) => {
                fetch_token(transport, self, &self.repository, &realm, service.as_deref()).await
            }
            (Challenge::Basic, Some(Credentials::Password { username, password })) => {
                Ok(Authorization::always(basic(username, password)?))
            }
            (Challenge::Basic, Some(Credentials::IdentityToken(_))) => {
                Err(Failure::Challenge { why: "it wants a password, and there is only an identity token for it" })
            }
            (Challenge::Basic, None) => Err(self.unauthorized(detail(transport, response).await)),
        }
    }

    fn unauthorized(&self, detail: Detail) -> Failure {
        let host = self.registry.to_string();
        match self.credentials {
            Some(_) => Failure::CredentialsRefused { host, detail },
            None => Failure::CredentialsMissing { host, detail },
        }
    }
}
