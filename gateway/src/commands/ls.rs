use std::collections::BTreeMap;

use clap::Args;

use super::{
    CommandError, Common,
    output::{print, print_json, size, table},
};
use crate::admin::{
    Client,
    api::{Condition, EndpointStatus, Phase, ReplicaStatus},
};

/// List endpoints
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse ls
  dormouse ls --json | jq -r '.[].url'

An endpoint with no replica is ready: the next request wakes one.")]
pub(super) struct Ls {}

impl Ls {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let endpoints = client.endpoints().await?;
        if common.json {
            return print_json(&endpoints);
        }
        let heading = ["NAME", "REVISION", "CONDITION", "REPLICAS", "SIZE", "URL"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(endpoints.iter().map(row)).collect();
        print(table(&rows))
    }
}

fn row(status: &EndpointStatus) -> [String; 6] {
    [
        status.endpoint.name.to_string(),
        status.revision.to_string(),
        condition(status.condition).to_owned(),
        phases(&status.replicas),
        size(status.image.as_ref().map_or(status.model_bytes, |image| image.bytes).get()),
        status.url.clone(),
    ]
}

pub(super) fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Deploying => "deploying",
        Condition::Ready => "ready",
        Condition::Failed => "failed",
        Condition::Draining => "draining",
    }
}

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Initializing => "initializing",
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Unready => "unready",
        Phase::Frozen => "frozen",
        Phase::Draining => "draining",
        Phase::Exited => "exited",
    }
}

/// How many replicas are in which phase: `2 ready, 1 frozen`, or `0`.
pub(super) fn phases(replicas: &[ReplicaStatus]) -> String {
    let mut counts: BTreeMap<Phase, usize> = BTreeMap::new();
    for replica in replicas {
        *counts.entry(replica.phase).or_default() += 1;
    }
    if counts.is_empty() {
        return "0".to_owned();
    }
    counts.iter().map(|(at, count)| format!("{count} {}", phase(*at))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use dormouse_spec::Bytes;

    use super::*;

    #[test]
    fn replicas_are_counted_by_phase() {
        let replica = |phase| ReplicaStatus {
            id: "m-1-1".to_owned(),
            revision: 1,
            phase,
            unready: None,
            leases: 0,
            started_at_ms: 0,
            memory: Bytes::new(0),
            control_group: "m-1-1".to_owned(),
        };
        assert_eq!(phases(&[]), "0");
        let all = [Phase::Frozen, Phase::Ready, Phase::Unready, Phase::Ready];
        assert_eq!(phases(&all.map(replica)), "2 ready, 1 unready, 1 frozen");
    }
}
