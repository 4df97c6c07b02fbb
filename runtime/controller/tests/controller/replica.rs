use std::{io::Write, path::Path};

use dormouse_sandbox::messages::{ReplicaSpec, ReplicaState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinHandle,
};

/// A replica as the played spawner keeps it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) spec: ReplicaSpec,
    pub(crate) state: ReplicaState,
    output: std::io::PipeWriter,
    server: JoinHandle<()>,
}

impl Replica {
    /// Binds its socket and answers every request on it with the metadata of a model.
    pub(crate) fn start(spec: ReplicaSpec, run: &Path, output: std::io::PipeWriter) -> Self {
        let path = run.join("sockets").join(format!("{}.sock", spec.replica));
        let listener = UnixListener::bind(path).unwrap();
        let body =
            serde_json::json!({"name": spec.replica.endpoint(), "versions": [spec.replica.revision().to_string()]})
                .to_string();
        let server = tokio::spawn(serve(listener, body));
        Self { spec, state: ReplicaState::Starting, output, server }
    }

    pub(crate) fn print(&mut self, text: &str) {
        self.output.write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: UnixListener, body: String) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        assert!(head.starts_with(b"GET /v2/models/"), "{}", String::from_utf8_lossy(&head));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
