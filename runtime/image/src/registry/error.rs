use std::{error::Error, fmt, io, time::Duration};

use dormouse_spec::Digest;

/// Why something of an image could not be read from a registry: what, of which image, from where,
/// and the [`Failure`] of the last attempt as its cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {content} of `{image}` from {host}{}", Tried(*attempts))]
pub struct RegistryError {
    pub content: Content,
    /// In its familiar form.
    pub image: String,
    pub host: String,
    /// How often the host was asked.
    pub attempts: u32,
    #[source]
    pub failure: Box<Failure>,
}

impl RegistryError {
    /// Whether what came is not what its digest says.
    #[must_use]
    pub fn is_wrong_content(&self) -> bool {
        matches!(*self.failure, Failure::WrongDigest { .. })
    }

    /// Why what came could not be stored, where that is what went wrong.
    #[must_use]
    pub fn of_sink<E: Error + 'static>(&self) -> Option<&E> {
        match &*self.failure {
            Failure::Sink { source } => source.downcast_ref(),
            _ => None,
        }
    }
}

/// What was to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Manifest,
    Blob(Digest),
}

/// What went wrong between this node and a registry.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("there is no such image: check its name and tag{detail}")]
    UnknownImage { detail: Detail },
    #[error("the registry does not have it, though the image is made of it; push the image again{detail}")]
    UnknownBlob { detail: Detail },
    #[error(
        "it is not public, or does not exist: log in with `docker login {host}` and give the `config.json` that this \
         writes{detail}"
    )]
    CredentialsMissing { host: String, detail: Detail },
    #[error("the credentials for {host} are refused: log in anew with `docker login {host}`{detail}")]
    CredentialsRefused { host: String, detail: Detail },
    #[error("access is forbidden: ask for the right to pull this repository{detail}")]
    Forbidden { detail: Detail },
    #[error("the registry allows no more requests for now{}{detail}", After(*retry_after))]
    TooManyRequests { retry_after: Option<Duration>, detail: Detail },
    #[error("the registry is out of order and answers {status}{detail}")]
    Server { status: u16, retry_after: Option<Duration>, detail: Detail },
    #[error("the registry answers {status}, which means nothing here{detail}")]
    Status { status: u16, detail: Detail },
    #[error("`{host}` is no host that anything can be sent to")]
    Address { host: String },
    #[error(
        "it speaks plain HTTP where TLS was expected: list `{host}` as an insecure registry if it is meant to be one"
    )]
    PlainHttp { host: String },
    #[error("no TLS connection that can be trusted: is its certificate signed by an authority of this system?")]
    Tls {
        #[source]
        source: reqwest::Error,
    },
    #[error("its name is not known")]
    Resolve {
        #[source]
        source: io::Error,
    },
    #[error("it cannot be reached")]
    Connect {
        #[source]
        source: reqwest::Error,
    },
    #[error("the connection broke")]
    Broken {
        #[source]
        source: reqwest::Error,
    },
    #[error("it stalled: next to nothing came for {} s", after.as_secs_f32())]
    Stalled { after: Duration },
    #[error("it ended after {received} of {size} bytes")]
    Truncated {
        received: u64,
        size: u64,
        #[source]
        source: Option<Box<Self>>,
    },
    #[error("it has more bytes than the {max} that were expected")]
    TooLarge { max: u64 },
    #[error("a part from byte {offset} on was asked for, and another one came")]
    Range { offset: u64 },
    #[error("it has the digest {found} and not {expected}: it was changed on its way or in the registry")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("it is no container image but `{media_type}`")]
    NotAnImage { media_type: String },
    #[error("it is in Docker's first format, which nothing writes any more: pull and push it once with a current tool")]
    Schema1,
    #[error("a redirect to `{to}` is not followed: {why}")]
    Redirect { to: String, why: &'static str },
    #[error("it asks for credentials in a way that is not understood: {why}")]
    Challenge { why: &'static str },
    #[error("the token server {server} gave no token")]
    Token {
        server: String,
        #[source]
        source: Box<Self>,
    },
    // Without the parser's reason, which may quote what is secret.
    #[error("its answer is not understood at line {line}, column {column}")]
    Answer { line: usize, column: usize },
    #[error("its token cannot be sent in a header")]
    TokenCharacters,
    #[error("what came could not be stored")]
    Sink {
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Failure {
    /// Whether the same request may work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TooManyRequests { .. }
            | Self::Server { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Stalled { .. }
            | Self::Truncated { .. }
            | Self::Range { .. } => true,
            Self::Token { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// The pause that the other side asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            Self::Token { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}

/// What a registry says about its refusal: one printable line, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail(pub(super) Option<String>);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |text| write!(f, " (it says: {text})"))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("the manifest"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
        }
    }
}

struct Tried(u32);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, " in {} attempts", self.0) } else { Ok(()) }
    }
}

struct After(Option<Duration>);

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pause| write!(f, ": try again in {} s", pause.as_secs()))
    }
}
