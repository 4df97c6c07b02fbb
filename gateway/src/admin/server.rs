use std::{io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use super::{
    Admin, AdminError, Admission,
    descriptors::{DescriptorStream, Received},
};
use crate::{accept::Shortage, status::chain};

/// Connections served at a time; people and scripts make few, `logs -f` keeps one.
const CONNECTIONS_MAX: usize = 64;
/// The longest a caller may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts and answers until it is dropped.
pub async fn serve(admin: Arc<Admin>, admission: Admission, listener: UnixListener) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shortage = Shortage::new("operators");
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (admin, admission) = (Arc::clone(&admin), admission.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(admin, &admission, stream).await {
                        tracing::debug!(error = chain(error.as_ref()), "a connection to the admin API broke");
                    }
                    drop(permit);
                });
            }
            Err(error) => shortage.failed(&error).await,
        }
    }
}

async fn connection(
    admin: Arc<Admin>,
    admission: &Admission,
    stream: UnixStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match admission.check(&stream)? {
        Ok(()) => {
            let (stream, received) = DescriptorStream::receiving(stream);
            Ok(answer(stream, move |request| {
                let (admin, received): (_, Received) = (Arc::clone(&admin), received.clone());
                async move { admin.handle(request, &received).await }
            })
            .await?)
        }
        Err(error) => Ok(refuse(stream, error).await?),
    }
}

/// Reads with plain reads, with which the kernel drops descriptors that come along.
async fn refuse(stream: UnixStream, error: AdminError) -> Result<(), hyper::Error> {
    tracing::warn!(error = chain(&error), "a connection to the admin API was refused");
    let error = Arc::new(error);
    answer(stream, move |_| {
        let error = Arc::clone(&error);
        async move { super::service::refused(&error) }
    })
    .await
}

async fn answer<S, F>(stream: S, handle: impl Fn(http::Request<hyper::body::Incoming>) -> F) -> Result<(), hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    F: Future<Output = super::service::Answer>,
{
    let service = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, io::Error>(answer.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // One request a connection: the descriptors on it can only be that request's.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
