//! Status codes: the one place that says what a client sees of an error.

use std::time::Duration;

use dormouse_controller::{
    AcquireError, ArchiveError, DeleteError, DeployError, ImageError, ImageStoreError, LogError,
};
use dormouse_image::registry::Failure;
use http::StatusCode;

use crate::{admin::AdminError, inference::InferenceError};

/// An error as it goes to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// The methods of a path that was called with another one.
    pub(crate) allow: Option<&'static str>,
}

const GRPC_INVALID_ARGUMENT: u8 = 3;
const GRPC_DEADLINE_EXCEEDED: u8 = 4;
const GRPC_RESOURCE_EXHAUSTED: u8 = 8;
const GRPC_UNIMPLEMENTED: u8 = 12;
const GRPC_INTERNAL: u8 = 13;
const GRPC_UNAVAILABLE: u8 = 14;

/// What is told where nothing better is known: a replica that died is started again at once.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

impl Refusal {
    fn new(status: StatusCode, error: &dyn std::error::Error) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_DEFAULT);
        Self { status, message: chain(error), retry_after, allow: None }
    }

    fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// For `Retry-After`, which is in whole seconds: rounded up, at least one.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// gRPC's code for it, for a client that reads no other. Where nothing was begun it is one after which a call may be
    /// made again, and else it is not.
    pub(crate) fn grpc_status(&self) -> u8 {
        match self.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => GRPC_UNIMPLEMENTED,
            StatusCode::BAD_REQUEST => GRPC_INVALID_ARGUMENT,
            StatusCode::PAYLOAD_TOO_LARGE => GRPC_RESOURCE_EXHAUSTED,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => GRPC_DEADLINE_EXCEEDED,
            StatusCode::SERVICE_UNAVAILABLE => GRPC_UNAVAILABLE,
            _ => GRPC_INTERNAL,
        }
    }

    /// The message as gRPC has it in a header: what is not printable ASCII, and the sign of that, in hexadecimal.
    pub(crate) fn grpc_message(&self) -> String {
        self.message.bytes().fold(String::new(), |mut text, byte| {
            match byte {
                b' '..=b'~' if byte != b'%' => text.push(byte.into()),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
            text
        })
    }

    pub(crate) fn body(&self) -> String {
        serde_json::json!({ "error": self.message }).to_string()
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<&InferenceError> for Refusal {
    fn from(error: &InferenceError) -> Self {
        use InferenceError as E;
        let status = match error {
            E::Acquire(error) => return error.into(),
            E::Method { allow } => {
                return Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) };
            }
            E::NoSuchPath | E::NoSuchModel(_) | E::NoSuchVersion { .. } => StatusCode::NOT_FOUND,
            E::NotServed(_) => StatusCode::NOT_IMPLEMENTED,
            E::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            E::BodyUnreadable(_) | E::BodyBroken | E::Malformed(_) => StatusCode::BAD_REQUEST,
            E::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            // Nobody knows when the next daemon starts: the least that can be said.
            E::Draining => return Self::new(StatusCode::SERVICE_UNAVAILABLE, error).after(Duration::ZERO),
            E::NotReady { .. } | E::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
            E::DeadlineInInference | E::DeadlineInReplica => StatusCode::GATEWAY_TIMEOUT,
            E::ReplicaDied(_) | E::ReplicaBroke(_) | E::SwitchedUnasked => StatusCode::BAD_GATEWAY,
            E::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<&AcquireError> for Refusal {
    fn from(error: &AcquireError) -> Self {
        use AcquireError as E;
        match error {
            E::NotFound => Self::new(StatusCode::NOT_FOUND, error),
            E::DeadlineExceeded { .. } | E::Unready { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, error),
            E::Deploying { retry_after }
            | E::QueueFull { retry_after, .. }
            | E::BackOff { retry_after, .. }
            | E::StartFailed { retry_after, .. }
            | E::Draining { retry_after }
            | E::OutOfCapacity { retry_after, .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error).after(*retry_after)
            }
        }
    }
}

impl From<&AdminError> for Refusal {
    fn from(error: &AdminError) -> Self {
        use AdminError as E;
        let status = match error {
            E::Deploy(error) => return error.into(),
            E::Delete(error) => return error.into(),
            E::Logs(error) => return error.into(),
            E::Image(error) => return error.into(),
            E::Method { allow } => {
                return Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) };
            }
            E::NotAMember { .. } | E::NeverAdmitted { .. } => StatusCode::FORBIDDEN,
            E::NoSuchPath | E::NoSuchEndpoint(_) => StatusCode::NOT_FOUND,
            E::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            E::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            E::BodyUnreadable(_)
            | E::Malformed(_)
            | E::Query { .. }
            | E::Name(_)
            | E::Reference(_)
            | E::Descriptors { .. }
            | E::NotReadable { .. }
            | E::NotWritable => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

impl From<&DeployError> for Refusal {
    fn from(error: &DeployError) -> Self {
        use DeployError as E;
        let status = match error {
            E::Invalid(_) => StatusCode::BAD_REQUEST,
            E::ImageStore(error) => return (&**error).into(),
            E::Model { .. } | E::Image { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            E::NeverFits { .. } | E::Busy(_) => StatusCode::CONFLICT,
            E::Draining => StatusCode::SERVICE_UNAVAILABLE,
            E::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<&ImageError> for Refusal {
    fn from(error: &ImageError) -> Self {
        use ImageError as E;
        let status = match error {
            E::Registry(error) if matches!(*error.failure, Failure::UnknownImage { .. }) => StatusCode::NOT_FOUND,
            E::Registry(error) if matches!(*error.failure, Failure::Sink { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            E::Registry(_) => StatusCode::BAD_GATEWAY,
            E::NotPulled { .. } => StatusCode::NOT_FOUND,
            E::Store(source) => of_image_store(source),
            E::Stored { source, .. } => of_image_store(source),
            E::Archive(source) => of_archive(source),
            E::Document { .. } | E::Unpack { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            E::Draining | E::GivenUp => StatusCode::SERVICE_UNAVAILABLE,
            E::Credentials(_)
            | E::RemoveLayer { .. }
            | E::Layers { .. }
            | E::Endpoints(_)
            | E::Task(_)
            | E::SpawnerGone => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

fn of_archive(error: &ArchiveError) -> StatusCode {
    match error {
        ArchiveError::Store(source) => of_image_store(source),
        ArchiveError::Read(_) | ArchiveError::Write(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn of_image_store(error: &ImageStoreError) -> StatusCode {
    match error {
        ImageStoreError::NotFound(_) => StatusCode::NOT_FOUND,
        ImageStoreError::Digest { .. } | ImageStoreError::Size { .. } | ImageStoreError::Long { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ImageStoreError::Full { .. } | ImageStoreError::IndexFull { .. } => StatusCode::CONFLICT,
        ImageStoreError::Store(_)
        | ImageStoreError::Damaged(_)
        | ImageStoreError::Rotted { .. }
        | ImageStoreError::Missing { .. }
        | ImageStoreError::Index(_)
        | ImageStoreError::GivenUp => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<&DeleteError> for Refusal {
    fn from(error: &DeleteError) -> Self {
        let status = match error {
            DeleteError::NotFound(_) => StatusCode::NOT_FOUND,
            DeleteError::Busy(_) => StatusCode::CONFLICT,
            DeleteError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<&LogError> for Refusal {
    fn from(error: &LogError) -> Self {
        let status = match error {
            LogError::NotFound(_) => StatusCode::NOT_FOUND,
            LogError::Read { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

#[cfg(test)]
mod tests;
