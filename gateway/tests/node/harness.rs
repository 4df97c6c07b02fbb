use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use dormouse_gateway::{
    admin::{
        Client, ClientError, SOCKET_NAME,
        api::{DeployEvent, DeployOrder, FileEntry},
    },
    config::{GatewaySettings, ImageSettings, NodeSettings},
    node::{self, NodeError},
};
use dormouse_spec::{Bytes as Size, EndpointDefaults, EndpointRequest};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use crate::spawner::Spawner;

/// A test fails where what it waits for takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) spawner: Spawner,
    running: JoinHandle<Result<(), NodeError>>,
    directory: tempfile::TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        for made in ["data/models", "data/endpoints", "run/sockets", "run/logs"] {
            std::fs::create_dir_all(directory.path().join(made)).unwrap();
        }
        let clients = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = clients.local_addr().unwrap();
        let operators = std::os::unix::net::UnixListener::bind(settings.run.join(SOCKET_NAME)).unwrap();
        let (spawner, channel) = Spawner::start(&settings, &clients, &operators);
        let client = Client::new(settings.run);
        Self { address, client, spawner, running: tokio::spawn(node::run(channel)), directory }
    }

    /// The URL it was deployed at.
    pub(crate) async fn deploy(&self, name: &str, alias: Option<&str>) -> Result<String, ClientError> {
        let alias = alias.map(|alias| alias.parse().unwrap());
        self.deploy_as(EndpointRequest { alias, ..EndpointRequest::named(name.parse().unwrap()) }).await
    }

    pub(crate) async fn deploy_as(&self, endpoint: EndpointRequest) -> Result<String, ClientError> {
        let model = self.directory.path().join("model.onnx");
        std::fs::write(&model, b"not looked at by this node").unwrap();
        let file: OwnedFd = std::fs::File::open(&model).unwrap().into();
        let order = DeployOrder { endpoint, files: vec![FileEntry { path: "model.onnx".to_owned() }], sample: false };
        match timeout(PATIENCE, self.client.deploy(&order, vec![file], |_| ())).await.unwrap()? {
            DeployEvent::Deployed { url, .. } => Ok(url),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.request("GET", path, "", "").await
    }

    /// The response as it came.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut client = self.connect().await;
        let request = request(method, path, headers, body);
        // An answer may come, and the connection end, before all of it was sent.
        let _ = timeout(PATIENCE, client.write_all(request.as_bytes())).await.unwrap();
        read_to_end(&mut client).await
    }

    pub(crate) async fn get_http2(&self, path: &str) -> String {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(self.connect().await))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://{}{path}", self.address)).body(Empty::<Bytes>::new()).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let mut client = UnixStream::connect(self.directory.path().join("run").join(SOCKET_NAME)).await.unwrap();
        client.write_all(request(method, path, "", body).as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    }

    pub(crate) async fn wait_for_draining(&self) {
        timeout(PATIENCE, async {
            while !self.client.node().await.unwrap().draining {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    pub(crate) async fn ended(self) -> (Result<(), NodeError>, Spawner) {
        (timeout(PATIENCE, self.running).await.unwrap().unwrap(), self.spawner)
    }
}

fn settings(directory: &Path) -> NodeSettings {
    NodeSettings {
        data: directory.join("data"),
        run: directory.join("run"),
        admin_group: "root".to_owned(),
        uid_base: 1_879_048_192,
        uid_count: 16,
        image_id_base: 1_879_113_728,
        gateway: GatewaySettings {
            body_bytes_max: BODY_BYTES_MAX as u64,
            head_bytes_max: 64 << 10,
            head_timeout: Duration::from_secs(1),
            client_wait: Duration::from_secs(20),
            client_rate_min: 16 << 10,
            connections_max: 64,
            streams_per_connection_max: 16,
        },
        endpoint_defaults: EndpointDefaults::default(),
        memory_budget: Size::from_mebibytes(4096),
        images: ImageSettings {
            insecure_registries: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            credentials: directory.join("registries.json"),
            layer_bytes_max: Size::from_mebibytes(1),
            gc: None,
        },
        prepare_for: None,
        cpus: 2,
        drain_deadline: PATIENCE,
        crash_back_off_first: Duration::from_secs(1),
        crash_back_off_max: Duration::from_secs(60),
        crash_back_off_reset: Duration::from_secs(600),
        log_file_bytes_max: 1 << 20,
        log_kept_after_exit: Duration::from_secs(600),
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    request("POST", path, "", body)
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    // A reset after the answer is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.unwrap();
    String::from_utf8(received).unwrap()
}
