use std::time::Duration;

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

use crate::shown::shown;

use super::{Content, Failure, error::Detail, transport::Transport};

/// What is read of the body of a refusal. It is shown to people and decides nothing.
const BODY_BYTES_MAX: usize = 16 << 10;

/// OCI distribution's form of an error.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer that is no success means. 401 has been dealt with before.
pub(super) async fn refusal(transport: &Transport, response: Response, content: Content) -> Failure {
    let status = response.status();
    let retry_after = retry_after(&response);
    let detail = detail(transport, response).await;
    match (status, content) {
        (StatusCode::NOT_FOUND, Content::Manifest) => Failure::UnknownImage { detail },
        (StatusCode::NOT_FOUND, Content::Blob(_)) => Failure::UnknownBlob { detail },
        _ => other_refusal(status, retry_after, detail),
    }
}

/// The same for a token server.
pub(super) async fn token_refusal(
    transport: &Transport,
    response: Response,
    host: String,
    with_credentials: bool,
) -> Failure {
    let status = response.status();
    let retry_after = retry_after(&response);
    let detail = detail(transport, response).await;
    match status {
        // RFC 6749: 400 is how a refresh token is refused.
        StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST if with_credentials => {
            Failure::CredentialsRefused { host, detail }
        }
        StatusCode::UNAUTHORIZED => Failure::CredentialsMissing { host, detail },
        _ => other_refusal(status, retry_after, detail),
    }
}

fn other_refusal(status: StatusCode, retry_after: Option<Duration>, detail: Detail) -> Failure {
    match status {
        StatusCode::FORBIDDEN => Failure::Forbidden { detail },
        StatusCode::TOO_MANY_REQUESTS => Failure::TooManyRequests { retry_after, detail },
        StatusCode::REQUEST_TIMEOUT => Failure::Server { status: status.as_u16(), retry_after, detail },
        status if status.is_server_error() => Failure::Server { status: status.as_u16(), retry_after, detail },
        status => Failure::Status { status: status.as_u16(), detail },
    }
}

/// Only in its form of seconds: registries send no dates, and a date would be a clock's affair.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the registry itself says. A body that breaks, stalls or is too long says nothing.
pub(super) async fn detail(transport: &Transport, response: Response) -> Detail {
    let body = transport.body(response).whole(BODY_BYTES_MAX).await.unwrap_or_default();
    Detail(error_of(&body).or_else(|| first_line(&body)).map(|text| shown(&text)))
}

fn error_of(body: &[u8]) -> Option<String> {
    let Errors { errors } = serde_json::from_slice(body).ok()?;
    let Entry { code, message } = errors.into_iter().next()?;
    Some(if message.is_empty() { code } else { format!("{code}: {message}") })
}

/// Of whatever else answers at that place. Pages for browsers begin with nothing that helps.
fn first_line(body: &[u8]) -> Option<String> {
    let line = str::from_utf8(body).ok()?.trim().lines().next()?;
    (!line.starts_with('<')).then(|| line.to_owned())
}
