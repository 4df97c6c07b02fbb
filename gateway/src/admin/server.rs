use std::{io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    Admin, AdminError, Admission,
    descriptors::{DescriptorStream, Received},
};
use crate::{
    accept::Shortage,
    status::{Refusal, chain},
};

/// Connections served at a time; people and scripts make few, `logs -f` keeps one.
const CONNECTIONS_MAX: usize = 64;
/// The longest a caller may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is still read of somebody who was refused.
const REFUSED_BYTES_MAX: u64 = 8 << 20;

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
        Err(error) => Ok(refuse(stream, &error).await?),
    }
}

/// Says no without parsing anything. Plain reads throw away what comes, and with them the kernel
/// drops descriptors that come along.
async fn refuse(mut stream: UnixStream, error: &AdminError) -> io::Result<()> {
    tracing::warn!(error = chain(error), "a connection to the admin API was refused");
    let refusal = Refusal::from(error);
    let (status, body) = (refusal.status, refusal.body());
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // A client takes no answer to what it has not asked yet.
    let mut thrown_away = vec![0; 4 << 10];
    if timeout(HEAD_TIMEOUT, stream.read(&mut thrown_away)).await?? == 0 {
        return Ok(());
    }
    timeout(HEAD_TIMEOUT, stream.write_all(answer.as_bytes())).await??;
    stream.shutdown().await?;
    // One that is cut off while it still sends might not look for the answer.
    let (mut rest, mut nowhere) = (stream.take(REFUSED_BYTES_MAX), tokio::io::sink());
    timeout(HEAD_TIMEOUT, tokio::io::copy(&mut rest, &mut nowhere)).await??;
    Ok(())
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
