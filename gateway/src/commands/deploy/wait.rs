use std::time::{Duration, Instant};

use crate::{
    admin::{
        Client,
        api::{Condition, EndpointStatus, Phase, ReplicaStatus},
    },
    commands::CommandError,
};

/// How often a deploy that is waited for is looked at.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until the replicas that are always kept serve the new revision.
pub(super) async fn wait(client: &Client, name: &str) -> Result<(), CommandError> {
    let began = Instant::now();
    loop {
        let status = client.endpoint(name).await?;
        if ready(&status) >= status.endpoint.min_replicas {
            return Ok(());
        }
        let failed = |reason: String| CommandError::NotReady { name: name.to_owned(), reason };
        if status.condition == Condition::Failed {
            return Err(failed(status.last_failure.unwrap_or_else(|| "no cause is known".to_owned())));
        }
        if began.elapsed() > status.endpoint.start_deadline {
            return Err(failed("the start deadline passed".to_owned()));
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

fn ready(status: &EndpointStatus) -> u32 {
    let serves = |replica: &&ReplicaStatus| replica.phase == Phase::Ready && replica.revision == status.revision;
    u32::try_from(status.replicas.iter().filter(serves).count()).unwrap_or(u32::MAX)
}
