use dormouse_controller::{DeleteError, DeployError, ImageError, LogError};
use dormouse_spec::{Bytes, ImageReferenceError, NameError};

/// Why the control plane does not do what it was asked. `status` turns it into what the caller sees.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "{who} is not in group `{group}`: root grants it with `usermod -aG {group} {user}`, from the next login on"
    )]
    NotAMember { who: String, user: String, group: String },
    #[error("uid {uid} is that of the daemon's unprivileged half or of a container: it may not administer the daemon")]
    NeverAdmitted { uid: u32 },
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path takes {allow}")]
    Method { allow: &'static str },
    #[error("there is no endpoint named `{0}`")]
    NoSuchEndpoint(String),
    #[error("the body is larger than {limit}")]
    BodyTooLarge { limit: Bytes },
    #[error("the body came too slowly")]
    BodyTooSlow,
    #[error("the body could not be read")]
    BodyUnreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the body is no JSON of this request")]
    Malformed(#[source] serde_json::Error),
    #[error("`{value}` is no `{key}` of this request")]
    Query { key: String, value: String },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{files} files are named and {descriptors} descriptors came along")]
    Descriptors { files: usize, descriptors: usize },
    #[error("the descriptor for `{path}` is not open for reading")]
    NotReadable { path: String },
    #[error("the descriptor for the archive is not open for writing")]
    NotWritable,
    #[error(transparent)]
    Reference(#[from] ImageReferenceError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Delete(#[from] DeleteError),
    #[error(transparent)]
    Logs(#[from] LogError),
}
