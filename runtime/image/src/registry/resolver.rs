use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system's resolver, as the client would use it by itself, but with an error that can be
/// told from those of connections.
#[derive(Debug)]
pub(super) struct SystemResolver;

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct ResolveError {
    kind: io::ErrorKind,
    text: String,
}

impl ResolveError {
    pub(super) fn to_io(&self) -> io::Error {
        io::Error::new(self.kind, self.text.clone())
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            match tokio::net::lookup_host((host, 0)).await {
                Ok(addresses) => Ok(Box::new(addresses) as Addrs),
                Err(source) => Err(ResolveError { kind: source.kind(), text: source.to_string() }.into()),
            }
        })
    }
}
