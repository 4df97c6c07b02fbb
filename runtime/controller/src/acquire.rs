use std::time::Duration;

use dormouse_spec::Bytes;

/// Where a request's time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Replicas run, all of them busy.
    Queue,
    /// A replica was being started for it.
    Start,
}

/// Why no replica was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    #[error("there is no endpoint of this name")]
    NotFound,
    #[error("the endpoint is being deployed for the first time")]
    Deploying { retry_after: Duration },
    #[error("the endpoint's queue is full: {waiters} requests wait")]
    QueueFull { waiters: u32, retry_after: Duration },
    #[error("the last start failed ({cause}); the next is tried in {retry_after:?}")]
    BackOff { cause: String, retry_after: Duration },
    #[error("a replica could not be started: {cause}")]
    StartFailed { cause: String, retry_after: Duration },
    #[error("the endpoint is draining")]
    Draining { retry_after: Duration },
    #[error("the deadline passed in the {}", match place { Place::Queue => "queue", Place::Start => "start" })]
    DeadlineExceeded { place: Place },
    /// Replicas run, and none of them takes requests for now. What was seen of one.
    #[error("the deadline passed while no replica took requests: {cause}")]
    Unready { cause: String },
    /// The node's memory budget is taken by replicas that serve.
    #[error("memory is short: {short} more of the node's budget is needed to start a replica")]
    OutOfCapacity { short: Bytes, retry_after: Duration },
}
