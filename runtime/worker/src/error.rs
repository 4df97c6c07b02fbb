//! Errors at the rim: which status code a failed request gets, and how an error is told.

use std::error::Error;

use http::StatusCode;

use crate::defence::Defence;
use crate::model::RunError;
use crate::prepare::PrepareError;
use crate::v2::encoding::EncodingError;
use crate::v2::request::RequestError;
use crate::v2::response::ResponseError;

/// Longest message, in bytes. Parsers repeat what they could not read, which may be as long as a body.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no such path: a worker serves /v2/models/<model>[/versions/<version>][/ready|/infer]")]
    NotFound,
    #[error("{allowed} only")]
    Method { allowed: &'static str },
    #[error("the body is over the limit of {limit} bytes (body_bytes_max)")]
    BodyTooLarge { limit: usize },
    #[error("no byte of the body arrived for {seconds} s")]
    BodyStalled { seconds: u64 },
    #[error("the body could not be read")]
    Body(#[source] hyper::Error),
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("the worker failed on this request; it goes on with the next")]
    Panicked,
    #[error("the worker is stopping")]
    Stopping,
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } | Self::Encoding(EncodingError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyStalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Encoding(EncodingError::Unsupported(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Encoding(EncodingError::NotAcceptable(_)) => StatusCode::NOT_ACCEPTABLE,
            Self::Encoding(EncodingError::Corrupt { .. }) | Self::Body(_) | Self::Request(_) | Self::Response(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Prepare(error) if error.is_of_sample() => StatusCode::BAD_REQUEST,
            Self::Prepare(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Encoding(EncodingError::Compress(_)) | Self::Run(_) | Self::Panicked => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The V2 error body.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut message = chain(self);
        if Defence::ShortErrors.stands() && message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push('…');
        }
        serde_json::json!({ "error": message }).to_string().into_bytes()
    }
}

/// An error and its causes in one line. ONNX Runtime ends some of its messages with a line break.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string().trim_end().to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(error.to_string().trim_end());
        cause = error.source();
    }
    line
}
