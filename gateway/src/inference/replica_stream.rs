use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use dormouse_controller::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to a replica that may stop reading and still have answered.
///
/// A replica that refuses a request before it read all of it answers and closes. Writing the rest
/// then fails, and a client that gave up there would never read the answer that is waiting. So what
/// cannot be written any more is thrown away; how the replica ended is told by reading alone.
#[derive(Debug)]
pub(super) struct ReplicaStream {
    stream: Stream,
    heard: Arc<AtomicBool>,
}

/// Both kinds of streams do the same.
macro_rules! on_stream {
    ($of:expr, $stream:ident => $does:expr) => {
        match $of {
            Stream::Unix($stream) => $does,
            Stream::Tcp($stream) => $does,
        }
    };
}

impl ReplicaStream {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, heard: Arc::default() }
    }

    /// Becomes true with the next byte that the replica says.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }
}

impl AsyncRead for ReplicaStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = on_stream!(&mut self.stream, stream => Pin::new(stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for ReplicaStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(&mut self.stream, stream => Pin::new(stream).poll_write(cx, bytes))
            .map(|written| or_thrown_away(written, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        on_stream!(&mut self.stream, stream => Pin::new(stream).poll_write_vectored(cx, slices))
            .map(|written| or_thrown_away(written, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        on_stream!(&self.stream, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.stream, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.stream, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

fn or_thrown_away(written: io::Result<usize>, bytes: usize) -> io::Result<usize> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(bytes),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream, UnixStream},
    };

    use super::*;

    async fn answered(stream: Stream, mut replica: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = ReplicaStream::new(stream);
        stream.write_all(b"a request").await.unwrap();
        replica.read_exact(&mut [0; 1]).await.unwrap();
        replica.write_all(b"refused").await.unwrap();
        // What it did not read makes a reset of the end.
        drop(replica);
        for _ in 0..8 {
            stream.write_all(&[0; 64 << 10]).await.unwrap();
        }
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"refused");
    }

    #[tokio::test]
    async fn an_answer_is_read_though_the_replica_reads_no_more() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        answered(Stream::Unix(ours), theirs).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        answered(Stream::Tcp(ours), listener.accept().await.unwrap().0).await;
    }
}
