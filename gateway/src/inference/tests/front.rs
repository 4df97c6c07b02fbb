use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dormouse_controller::{Address, LossCause};
use dormouse_sandbox::messages::{ExitCause, ReplicaId};
use dormouse_spec::AppProtocol;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use prometheus::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{
    super::{
        InferenceError,
        exchange::{ExchangeError, exchange},
        grant::{Grant, Payload},
        infer::Caller,
        metrics::Metrics,
        pace::PaceLimit,
        places::{Place, Places},
        pool::Pool,
        request_body::RequestBody,
        send::{Answered, prepare},
        server::{Arrived, connection, protocols},
        service::Answer,
    },
    replica::Replica,
};
use crate::{config::GatewaySettings, status::Refusal};

/// More than the buffers of a connection hold, so that nobody gets rid of it without a reader.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// A test fails where what it waits for takes so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Connections of clients at a time.
const CONNECTIONS_MAX: usize = 2;
/// What a client of these tests may take.
const PACE: PaceLimit = PaceLimit { wait: Duration::from_secs(1), rate_min: 1 << 20 };

/// A server that sends every request to one replica, whose sockets and death are the test's.
pub(super) struct Front {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<Replica>,
    kept: Option<Replica>,
    made: Arc<AtomicUsize>,
    lost: watch::Sender<Option<LossCause>>,
    given_back: mpsc::UnboundedReceiver<()>,
    served: mpsc::UnboundedReceiver<()>,
    silent: mpsc::UnboundedReceiver<()>,
    deaf: mpsc::UnboundedReceiver<()>,
    replicas: Arc<Mutex<Vec<u32>>>,
    places: Places,
    listening: AbortHandle,
    _directory: tempfile::TempDir,
}

/// Tells when the grant it belongs to is dropped.
struct GivesBack(mpsc::UnboundedSender<()>);

impl Drop for GivesBack {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

struct State {
    pool: Arc<Pool>,
    socket: PathBuf,
    payload: Payload,
    timeout: Duration,
    lost: watch::Receiver<Option<LossCause>>,
    given_back: mpsc::UnboundedSender<()>,
    served: mpsc::UnboundedSender<()>,
    silent: mpsc::UnboundedSender<()>,
    deaf: mpsc::UnboundedSender<()>,
    replicas: Arc<Mutex<Vec<u32>>>,
    places: Places,
    metrics: Metrics,
}

impl Front {
    pub(super) async fn start() -> Self {
        Self::of(Payload::Model, PATIENCE).await
    }

    pub(super) async fn with_timeout(timeout: Duration) -> Self {
        Self::of(Payload::Model, timeout).await
    }

    pub(super) async fn image() -> Self {
        Self::of(Payload::Image(AppProtocol::Http1), PATIENCE).await
    }

    pub(super) async fn h2c() -> Self {
        Self::of(Payload::Image(AppProtocol::H2c), PATIENCE).await
    }

    pub(super) async fn of(payload: Payload, timeout: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("replica.sock");
        let (arrived, connections) = mpsc::unbounded_channel();
        let made = Arc::new(AtomicUsize::new(0));
        let listening = tokio::spawn(accept(UnixListener::bind(&socket).unwrap(), arrived, Arc::clone(&made)));
        let (lost, losing) = watch::channel(None);
        let (giving_back, given_back) = mpsc::unbounded_channel();
        let (telling_served, served) = mpsc::unbounded_channel();
        let (telling_silent, silent) = mpsc::unbounded_channel();
        let (telling_deaf, deaf) = mpsc::unbounded_channel();
        let replicas = Arc::new(Mutex::new(Vec::new()));
        let places = Places::new(CONNECTIONS_MAX);
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let state = State {
            pool: Arc::default(),
            socket,
            payload,
            timeout,
            lost: losing,
            given_back: giving_back,
            served: telling_served,
            silent: telling_silent,
            deaf: telling_deaf,
            replicas: Arc::clone(&replicas),
            places: places.clone(),
            metrics,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(state)));
        Self {
            address,
            connections,
            kept: None,
            made,
            lost,
            given_back,
            served,
            silent,
            deaf,
            replicas,
            places,
            listening: listening.abort_handle(),
            _directory: directory,
        }
    }

    pub(super) async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The connection the next request comes on: a new one, or the one that was kept.
    pub(super) async fn connected(&mut self) -> Replica {
        match self.kept.take() {
            Some(replica) => replica,
            None => timeout(PATIENCE, self.connections.recv()).await.unwrap().unwrap(),
        }
    }

    pub(super) fn keep(&mut self, replica: Replica) {
        self.kept = Some(replica);
    }

    pub(super) fn connections_made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    pub(super) fn lose(&self, cause: ExitCause) {
        self.lost.send_replace(Some(cause.into()));
    }

    pub(super) async fn given_back(&mut self) {
        timeout(PATIENCE, self.given_back.recv()).await.unwrap().unwrap();
    }

    /// So many come that the place of the connection there is, is needed, too.
    pub(super) fn want_places(&self) {
        let places = self.places.clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                taken.push(places.take().await);
            }
        });
    }

    /// How many grants were, of which nobody waited to hear.
    pub(super) fn given_back_so_far(&mut self) -> usize {
        std::iter::from_fn(|| self.given_back.try_recv().ok()).count()
    }

    /// Whether the replica was given up as one that answers nothing.
    pub(super) fn was_told_silent(&mut self) -> bool {
        self.silent.try_recv().is_ok()
    }

    /// How often it was said that the replica did its part.
    pub(super) fn told_served(&mut self) -> usize {
        std::iter::from_fn(|| self.served.try_recv().ok()).count()
    }

    /// How often it was said that nothing listens in the replica.
    pub(super) fn told_deaf(&mut self) -> usize {
        std::iter::from_fn(|| self.deaf.try_recv().ok()).count()
    }

    /// The replicas that the next grants are of, the last first. All are behind one socket.
    pub(super) fn grant_next(&self, replicas: impl Into<Vec<u32>>) {
        *self.replicas.lock().unwrap() = replicas.into();
    }

    pub(super) fn grants_left(&self) -> usize {
        self.replicas.lock().unwrap().len()
    }

    /// As where a server ends in good order: what is connected goes on.
    pub(super) async fn refuse_connections(&mut self) {
        self.listening.abort();
        while !self.listening.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn stop_listening(&mut self) {
        self.listening.abort();
        std::fs::remove_file(self._directory.path().join("replica.sock")).unwrap();
    }
}

async fn accept(listener: UnixListener, arrived: mpsc::UnboundedSender<Replica>, made: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        made.fetch_add(1, Ordering::SeqCst);
        let _ = arrived.send(Replica { stream });
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, client)) = listener.accept().await {
        let arrived = Arrived { stream, client, place: state.places.take().await };
        let state = Arc::clone(&state);
        let answer = move |request, client, place| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(state.handle(request, client, place).await) }
        };
        tokio::spawn(connection(settings(), protocols(&settings()), arrived, None, answer));
    }
}

fn settings() -> GatewaySettings {
    GatewaySettings {
        body_bytes_max: BODY_BYTES_MAX as u64,
        head_bytes_max: 64 << 10,
        head_timeout: PATIENCE,
        client_wait: PACE.wait,
        client_rate_min: PACE.rate_min,
        connections_max: CONNECTIONS_MAX as u32,
        streams_per_connection_max: 8,
    }
}

impl State {
    fn grant(&self) -> Grant {
        let (mut lost, gives_back) = (self.lost.clone(), GivesBack(self.given_back.clone()));
        let lost = Box::pin(async move {
            let _gives_back = gives_back;
            let cause = lost.wait_for(Option::is_some).await.unwrap().clone();
            cause.unwrap()
        });
        let silent = self.silent.clone();
        let tell_silent = Box::new(move || {
            let _ = silent.send(());
        });
        let served = self.served.clone();
        let tell_served = Box::new(move || {
            let _ = served.send(());
        });
        let deaf = self.deaf.clone();
        let tell_deaf = Box::new(move || {
            let _ = deaf.send(());
        });
        let number = self.replicas.lock().unwrap().pop().unwrap_or(1);
        Grant {
            replica: ReplicaId::new(&"m".parse().unwrap(), 1, number.into()),
            address: Address::Unix(self.socket.clone()),
            payload: self.payload,
            lost,
            tell_served,
            tell_silent,
            tell_deaf,
            tell_answered: None,
        }
    }

    async fn handle(&self, request: Request<Incoming>, address: IpAddr, place: Arc<Place>) -> Answer {
        let mut request = RequestBody::of(request, BODY_BYTES_MAX as u64, PACE);
        let mut under_way = place.request();
        under_way.is_ours();
        let caller = Caller { address, request_id: HeaderValue::from_static("id-1"), place };
        let upgrade = prepare(&mut request, &caller, self.payload);
        let deadline = Instant::now() + self.timeout;
        let mut tried = None;
        let error = loop {
            match exchange(&self.pool, self.grant(), request, deadline, BODY_BYTES_MAX as u64, tried).await {
                Ok((response, exchange)) => {
                    let answered = Answered { response, exchange, under_way, deadline, upgrade };
                    return answered.deliver(self.metrics.watch(None), &caller, PACE);
                }
                Err(ExchangeError::Failed(error)) => break error,
                Err(ExchangeError::Unsent(unsent)) => {
                    tried = unsent.tried();
                    if tried.is_none() {
                        break InferenceError::Unreachable(unsent.cause);
                    }
                    request = unsent.request;
                }
            }
        };
        let refusal = Refusal::from(&error);
        let mut response = Response::new(Either::Left(Full::from(refusal.body())));
        *response.status_mut() = refusal.status;
        response
    }
}

/// Sends a whole body in chunks, and only then would look at an answer.
pub(super) async fn send_chunked(mut client: TcpStream, bytes: usize) -> TcpStream {
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    for _ in 0..bytes / 4096 {
        timeout(PATIENCE, client.write_all(&chunk)).await.unwrap().unwrap();
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    client
}

pub(super) async fn send_declared(mut client: TcpStream, bytes: usize) -> TcpStream {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    timeout(PATIENCE, client.write_all(&vec![b'x'; bytes])).await.unwrap().unwrap();
    client
}

/// A whole response with a declared length, as it came.
pub(super) async fn response(client: &mut TcpStream) -> String {
    let mut received = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&received)) {
        let read = timeout(PATIENCE, client.read_buf(&mut received)).await.unwrap().unwrap();
        assert!(read > 0, "the response broke off: {}", String::from_utf8_lossy(&received));
    }
    String::from_utf8(received).unwrap()
}

fn is_whole(response: &str) -> bool {
    let Some((head, body)) = response.split_once("\r\n\r\n") else { return false };
    let declared = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= declared.parse::<usize>().unwrap()
}
