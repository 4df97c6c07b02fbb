use std::time::Duration;

use reqwest::{Method, Request, StatusCode, Url, header::AUTHORIZATION};
use serde::Deserialize;
use tokio::time::Instant;

use crate::shown::shown;

use super::{
    Credentials, Failure,
    authorization::{Authorization, basic, header},
    origin::Origin,
    refusal::token_refusal,
    transport::Transport,
};

/// The answer of a token server in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// OCI distribution: how long a token lives that does not say so.
const LIFE_BY_DEFAULT_SECONDS: u64 = 60;
/// A token that says it lives longer is asked for anew all the same.
const LIFE_MAX: Duration = Duration::from_secs(3600);
/// OAuth wants programs to have a name.
const CLIENT_ID: &str = "dormouse";

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token to pull `repository` from `origin`, from the server at `realm`.
pub(super) async fn fetch_token(
    transport: &Transport,
    origin: &Origin,
    repository: &str,
    realm: &str,
    service: Option<&str>,
) -> Result<Authorization, Failure> {
    let url = safe_realm(realm, origin)?;
    let server = shown(url.host_str().unwrap_or_default());
    // What is asked for is decided here, not by the challenge: never more than this pull needs.
    let scope = format!("repository:{repository}:pull");
    let request = match origin.credentials() {
        Some(Credentials::IdentityToken(token)) => refresh(transport, url, &scope, service, token)?,
        Some(Credentials::Password { username, password }) => {
            let mut request = ask(url, &scope, service);
            request.headers_mut().insert(AUTHORIZATION, basic(username, password)?);
            request
        }
        None => ask(url, &scope, service),
    };
    let answered = exchange(transport, origin, request).await;
    answered.map_err(|source| Failure::Token { server, source: Box::new(source) })
}

/// Passwords go there, so it must be as safe as the registry itself.
fn safe_realm(realm: &str, origin: &Origin) -> Result<Url, Failure> {
    let url = Url::parse(realm).map_err(|_| Failure::Challenge { why: "its token server has no valid address" })?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if origin.is_insecure() => Ok(url),
        _ => Err(Failure::Challenge { why: "its token server is not reached over HTTPS" }),
    }
}

fn ask(mut url: Url, scope: &str, service: Option<&str>) -> Request {
    let mut query = url.query_pairs_mut();
    service.map(|service| query.append_pair("service", service));
    query.append_pair("scope", scope);
    drop(query);
    Request::new(Method::GET, url)
}

/// OAuth's exchange of a refresh token.
fn refresh(
    transport: &Transport,
    url: Url,
    scope: &str,
    service: Option<&str>,
    token: &str,
) -> Result<Request, Failure> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("service", service.unwrap_or_default()),
        ("scope", scope),
        ("refresh_token", token),
    ];
    transport.form(url, &form)
}

async fn exchange(transport: &Transport, origin: &Origin, request: Request) -> Result<Authorization, Failure> {
    let asked = Instant::now();
    let response = transport.send(request).await?;
    if response.status() != StatusCode::OK {
        let with_credentials = origin.credentials().is_some();
        return Err(token_refusal(transport, response, origin.registry().to_string(), with_credentials).await);
    }
    let bytes = transport.body(response).whole(ANSWER_BYTES_MAX).await?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Answer { line: error.line(), column: error.column() })?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or(Failure::Challenge { why: "its token server sent an answer without a token" })?;
    let life = Duration::from_secs(answer.expires_in.unwrap_or(LIFE_BY_DEFAULT_SECONDS)).min(LIFE_MAX);
    let header = header(&format!("Bearer {token}"))?;
    Ok(Authorization::until(header, asked + life))
}
