use std::{io::Write, path::Path};

use dormouse_sandbox::messages::{ReplicaSpec, ReplicaState, Work};
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
    /// Binds its socket and answers every request on it with the metadata of a model, or with a prepared one.
    pub(crate) fn start(spec: ReplicaSpec, run: &Path, output: std::io::PipeWriter) -> Self {
        let path = run.join("sockets").join(format!("{}.sock", spec.replica));
        let listener = UnixListener::bind(path).unwrap();
        let server = tokio::spawn(match spec.work().unwrap() {
            Work::Prepare {} => serve(listener, "POST", "dormouse-verified: seeded\r\n", "optimised".to_owned()),
            Work::Serve { .. } | Work::Template { .. } | Work::Fork { .. } => {
                serve(listener, "GET", "", metadata(&spec))
            }
        });
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

fn metadata(spec: &ReplicaSpec) -> String {
    serde_json::json!({"name": spec.replica.endpoint(), "versions": [spec.replica.revision().to_string()]}).to_string()
}

async fn serve(listener: UnixListener, method: &'static str, header: &'static str, body: String) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with(&format!("{method} /v2/models/")), "{head}");
        let answer = format!("HTTP/1.1 200 OK\r\n{header}content-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}
