//! Replicas that outlived the node process and that no endpoint wants.

use dormouse_sandbox::messages::{Event, ReplicaId, ReplicaReport, Request};

use crate::{
    link::{Fact, FactInbox, Outbox},
    memory::Account,
    policy::Usage,
};

/// Holds their memory and ends them, and gives it back as they go.
pub(super) async fn end(strays: Vec<ReplicaReport>, account: Account, mut facts: FactInbox, outbox: Outbox) {
    let mut left: Vec<ReplicaId> = Vec::new();
    for stray in strays {
        tracing::info!(replica = %stray.spec.replica, "ending a replica of no endpoint");
        outbox.send(Request::Stop { replica: stray.spec.replica.clone(), grace_ms: 0 }).await;
        left.push(stray.spec.replica);
    }
    while !left.is_empty() {
        let Some(fact) = facts.recv().await else { return };
        if let Fact::Spawner(Event::Removed { replica }, _) = fact {
            left.retain(|stray| *stray != replica);
            account.release(replica).await;
        }
    }
    account.close().await;
}

pub(super) async fn adopt(strays: &[ReplicaReport], account: &Account) {
    for ReplicaReport { spec, .. } in strays {
        account.adopt(spec.replica.clone(), spec.limits.memory, Usage::Leaving).await;
    }
}
