use std::{future::Future, pin::Pin, sync::Arc};

use dormouse_controller::{Address, Lease, LossCause};
use dormouse_sandbox::messages::ReplicaId;
use dormouse_spec::AppProtocol;

/// What serves in a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// A worker of ours with a model.
    Model,
    /// A process of an image, which speaks this for itself.
    Image(AppProtocol),
}

impl Payload {
    fn behind(address: &Address) -> Self {
        match address {
            Address::Unix(_) => Self::Model,
            Address::Inside(_) => Self::Image(address.protocol()),
        }
    }

    pub(super) fn protocol(self) -> AppProtocol {
        match self {
            Self::Model => AppProtocol::Http1,
            Self::Image(protocol) => protocol,
        }
    }

    pub(super) fn is_image(self) -> bool {
        matches!(self, Self::Image(_))
    }
}

/// One replica that may be sent one request. Dropping it gives the replica back.
pub(super) struct Grant {
    pub(super) replica: ReplicaId,
    pub(super) address: Address,
    pub(super) payload: Payload,
    /// Resolves when the replica is dead. It owns the lease.
    pub(super) lost: Pin<Box<dyn Future<Output = LossCause> + Send>>,
    /// Says that it did its part.
    pub(super) tell_served: Box<dyn FnOnce() + Send>,
    /// Says that it answers nothing at all any more.
    pub(super) tell_silent: Box<dyn FnOnce() + Send>,
    /// Says that nothing listens in it any more.
    pub(super) tell_deaf: Box<dyn FnOnce() + Send>,
    /// Where the answer ends a wake: says that its head is here.
    pub(super) tell_answered: Option<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl From<Lease> for Grant {
    fn from(lease: Lease) -> Self {
        let lease = Arc::new(lease);
        let (served, silent, deaf) = (Arc::clone(&lease), Arc::clone(&lease), Arc::clone(&lease));
        let answered = lease.ends_a_wake().then(|| Arc::clone(&lease));
        Self {
            replica: lease.replica().clone(),
            address: lease.address().clone(),
            payload: Payload::behind(lease.address()),
            lost: Box::pin(async move { lease.lost().await }),
            tell_served: Box::new(move || served.tell_served()),
            tell_silent: Box::new(move || silent.tell_silent()),
            tell_deaf: Box::new(move || deaf.tell_deaf()),
            tell_answered: answered
                .map(|lease| -> Box<dyn FnOnce() + Send> { Box::new(move || lease.tell_answered()) }),
        }
    }
}
