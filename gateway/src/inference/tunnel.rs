//! A connection that a client and an image agreed to use for something else than HTTP: a WebSocket, mostly.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dormouse_controller::LossCause;
use http::HeaderValue;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};

use super::{
    metrics::Observation,
    places::{Place, UnderWay},
    reply::Exchange,
};
use crate::status::chain;

/// What is on its way in one direction and not written yet.
const BUFFER_BYTES: usize = 16 << 10;
/// The longest that nothing may move. A tunnel keeps its replica from being frozen, and who has nothing to say
/// for longer can connect anew; WebSockets that are to stay send pings every 20 to 60 seconds.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How long one side may go on once the other said that it is done.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(10);
/// How often at most a tunnel that moves goes to the end of the queue of those whose places others may take.
const REQUEUE_EVERY: Duration = Duration::from_secs(1);

/// Both sides of a switch of protocols that has been answered with 101, and all that is held for it.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) replica: OnUpgrade,
    pub(super) exchange: Exchange,
    pub(super) under_way: UnderWay,
    pub(super) place: Arc<Place>,
    pub(super) observation: Observation,
    pub(super) request_id: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Replica,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Replica => "replica",
        })
    }
}

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the {0} closed it")]
    Closed(Side),
    #[error("it broke")]
    Broken(#[source] io::Error),
    #[error("nothing moved for {IDLE_MAX:?}")]
    Idle,
    #[error("the client's place was given to another")]
    PlaceTaken,
    #[error("the replica ended: {0}")]
    ReplicaLost(LossCause),
}

impl Tunnel {
    /// Carries what both sides send, until one of them ends it or it has to end.
    pub(super) fn open(self) {
        tokio::spawn(async move {
            let Self { client, replica, mut exchange, mut under_way, place, observation, request_id } = self;
            let ended = tokio::select! {
                biased;
                cause = &mut exchange.grant.lost => Ended::ReplicaLost(cause),
                () = place.called_back() => Ended::PlaceTaken,
                ended = carry(client, replica, &mut under_way) => ended,
            };
            match ended {
                Ended::ReplicaLost(_) => exchange.pool.forget(&exchange.grant.replica),
                Ended::Closed(Side::Client) | Ended::Idle | Ended::PlaceTaken => (exchange.grant.tell_served)(),
                // Where the replica died, that is known only a moment later.
                Ended::Closed(Side::Replica) | Ended::Broken(_) => {}
            }
            let request_id = request_id.to_str().unwrap_or_default();
            let (endpoint, why) = (observation.endpoint(), chain(&ended));
            tracing::debug!(request_id, endpoint, why, "an upgraded connection ended");
        });
    }
}

async fn carry(client: OnUpgrade, replica: OnUpgrade, under_way: &mut UnderWay) -> Ended {
    let (client, replica) = match tokio::try_join!(client, replica) {
        Ok((client, replica)) => (TokioIo::new(client), TokioIo::new(replica)),
        Err(error) => return Ended::Broken(io::Error::other(error)),
    };
    // Nobody knows who waits for whom from here on. So it keeps its place as an idle client does: until all are
    // taken and it is the one that has been still for longest.
    under_way.is_theirs();
    let activity = Activity::new(under_way);
    tokio::select! {
        spliced = splice(client, replica, &activity) => match spliced {
            Ok(first) => Ended::Closed(first),
            Err(error) => Ended::Broken(error),
        },
        () = activity.idle() => Ended::Idle,
    }
}

/// Tells which side said first that it is done.
async fn splice<C, R>(client: C, replica: R, activity: &Activity<'_>) -> io::Result<Side>
where
    C: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_replica, to_replica) = tokio::io::split(replica);
    let (there, back) = (pump(from_client, to_replica, activity), pump(from_replica, to_client, activity));
    tokio::pin!(there, back);
    let (first, rest) = tokio::select! {
        done = &mut there => {
            done?;
            (Side::Client, timeout(HALF_CLOSED_MAX, back).await)
        }
        done = &mut back => {
            done?;
            (Side::Replica, timeout(HALF_CLOSED_MAX, there).await)
        }
    };
    // Whoever was given the time and did not end is not waited for.
    rest.unwrap_or(Ok(())).map(|()| first)
}

/// Passes on what comes, and at last that no more comes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    activity: &Activity<'_>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        activity.moved();
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

/// When something moved last.
struct Activity<'a> {
    under_way: &'a UnderWay,
    began: Instant,
    /// After it began.
    last_ms: AtomicU64,
    requeued_ms: AtomicU64,
}

impl<'a> Activity<'a> {
    fn new(under_way: &'a UnderWay) -> Self {
        Self { under_way, began: Instant::now(), last_ms: AtomicU64::new(0), requeued_ms: AtomicU64::new(0) }
    }

    fn moved(&self) {
        let now = self.began.elapsed();
        self.last_ms.store(now.as_millis() as u64, Ordering::Relaxed);
        let requeued = Duration::from_millis(self.requeued_ms.load(Ordering::Relaxed));
        if now.saturating_sub(requeued) >= REQUEUE_EVERY {
            self.requeued_ms.store(now.as_millis() as u64, Ordering::Relaxed);
            self.under_way.moved();
        }
    }

    /// Resolves when nothing moved for too long.
    async fn idle(&self) {
        loop {
            let until = self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + IDLE_MAX;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::places::Places, *};

    #[tokio::test(start_paused = true)]
    async fn only_silence_of_both_sides_ends_it() {
        let place = Places::new(1).take().await;
        let under_way = place.request();
        let activity = Activity::new(&under_way);
        tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
        activity.moved();
        let moved = Instant::now();
        activity.idle().await;
        assert_eq!(moved.elapsed(), IDLE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_side_still_says_arrives_after_the_other_is_done() {
        let place = Places::new(1).take().await;
        let under_way = place.request();
        let activity = Activity::new(&under_way);
        let ((mut client, client_side), (mut replica, replica_side)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        let spoken = async {
            client.write_all(b"the end").await?;
            client.shutdown().await?;
            let mut heard = String::new();
            replica.read_to_string(&mut heard).await?;
            replica.write_all(b"understood").await?;
            replica.shutdown().await?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await?;
            io::Result::Ok((heard, answer))
        };
        let (spliced, spoken) = tokio::join!(splice(client_side, replica_side, &activity), spoken);
        assert!(spliced.is_ok(), "{spliced:?}");
        assert_eq!(spoken.ok(), Some(("the end".to_owned(), "understood".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_ends_is_not_waited_for_once_the_other_is_done() {
        let place = Places::new(1).take().await;
        let under_way = place.request();
        let activity = Activity::new(&under_way);
        let ((client, client_side), (_replica, replica_side)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        drop(client);
        let began = Instant::now();
        assert!(splice(client_side, replica_side, &activity).await.is_ok());
        assert_eq!(began.elapsed(), HALF_CLOSED_MAX);
    }
}
