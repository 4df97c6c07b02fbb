use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::front::PATIENCE;

pub(super) const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nanswer";

/// The replica's end of one connection.
pub(super) struct Replica {
    pub(super) stream: UnixStream,
}

impl Replica {
    /// The next request as it came, with a body of so many bytes.
    pub(super) async fn request(&mut self, body_bytes: usize) -> String {
        let mut received = Vec::new();
        let is_whole = |received: &[u8]| {
            received
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .is_some_and(|end| received.len() >= end + 4 + body_bytes)
        };
        while !is_whole(&received) {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut received)).await.unwrap().unwrap();
            assert!(read > 0, "the request broke off: {}", String::from_utf8_lossy(&received));
        }
        String::from_utf8(received).unwrap()
    }

    /// So many bytes as they came.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut received = vec![0; count];
        timeout(PATIENCE, self.stream.read_exact(&mut received)).await.unwrap().unwrap();
        received
    }

    /// How many bytes come before the connection ends.
    pub(super) async fn read_to_end(&mut self) -> usize {
        let mut received = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut received)).await.unwrap();
        received.len()
    }

    pub(super) async fn write(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// An answer without an end, until nobody reads it any more.
    pub(super) async fn write_endlessly(&mut self) {
        self.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await;
        let piece = vec![b'x'; 64 << 10];
        let written = async { while self.stream.write_all(&piece).await.is_ok() {} };
        timeout(PATIENCE, written).await.unwrap();
    }
}
