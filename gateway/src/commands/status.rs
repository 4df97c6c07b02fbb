use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use dormouse_controller::TemplateUse;
use dormouse_sandbox::messages::ImageIdsMode;
use dormouse_spec::{EndpointName, format_duration};

use super::{
    CommandError, Common,
    ls::{condition, phase, phases},
    output::{print, print_json, size, table},
    why::summary,
};
use crate::admin::{
    Client,
    api::{EndpointStatus, Preparation, ReplicaStatus, TemplateStatus, Verified},
};

/// Show one endpoint: its replicas and their phases, limits, how it was prepared, the last wake, the last failure
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse status silero-vad
  dormouse status silero-vad --json | jq '.replicas[].phase'")]
pub(super) struct Status {
    name: EndpointName,
}

impl Status {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let status = client.endpoint(self.name.as_str()).await?;
        if common.json {
            return print_json(&status);
        }
        print(table(&facts(&status)))?;
        if !status.templates.is_empty() {
            list(
                ["TEMPLATE", "REVISION", "PHASE", "FORKS", "MEMORY", "AGE", "CONTROL GROUP"],
                status.templates.iter().map(template_row),
            )?;
        }
        if !status.replicas.is_empty() {
            list(
                ["REPLICA", "REVISION", "PHASE", "REQUESTS", "MEMORY", "AGE", "CONTROL GROUP"],
                status.replicas.iter().map(row),
            )?;
        }
        Ok(())
    }
}

fn list<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<(), CommandError> {
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    print(format!("\n{}", table(&rows)))
}

fn facts(status: &EndpointStatus) -> Vec<[String; 2]> {
    let endpoint = &status.endpoint;
    let limits = &endpoint.limits;
    let alias = endpoint.alias.as_ref().map(|alias| format!(" (also {})", alias.as_str())).unwrap_or_default();
    let mut facts = [
        ["Name", &format!("{}{alias}", endpoint.name)],
        ["URL", &status.url],
        ["Condition", condition(status.condition)],
        ["Revision", &status.revision.to_string()],
    ]
    .map(|fact| fact.map(str::to_owned))
    .to_vec();
    facts.extend(content(status));
    let settings = [
        ["Replicas", &phases(&status.replicas)],
        [
            "Scale",
            &format!(
                "{} to {} replicas, {} requests each",
                endpoint.min_replicas, endpoint.max_replicas, endpoint.container_concurrency
            ),
        ],
        ["Waiting", &format!("{} of {} requests", status.waiters, endpoint.queue_waiters_max)],
        [
            "Limits",
            &format!(
                "cpu {}, memory {}, pids {}, tmp {}{}",
                limits.cpu,
                size(limits.memory.get()),
                limits.pids,
                size(limits.tmp.get()),
                if status.model.is_some() {
                    format!(", intra-op threads {}", endpoint.intra_op_threads)
                } else {
                    String::new()
                }
            ),
        ],
        [
            "Idle",
            &format!(
                "frozen after {}, ended after {}{}",
                format_duration(endpoint.freeze_after),
                format_duration(endpoint.zero_after),
                match endpoint.keep_template {
                    Duration::ZERO => String::new(),
                    keep => format!(", template kept {}", format_duration(keep)),
                }
            ),
        ],
        [
            "Deadlines",
            &format!(
                "request {}, start {}, drain {}",
                format_duration(endpoint.timeout),
                format_duration(endpoint.start_deadline),
                format_duration(endpoint.drain_deadline)
            ),
        ],
    ]
    .map(|fact| fact.map(str::to_owned));
    facts.extend(settings);
    let unready = |replica: &ReplicaStatus| Some(format!("{}, {}", replica.id, replica.unready.as_ref()?));
    facts.extend(status.replicas.iter().filter_map(unready).map(|unready| ["Unready".to_owned(), unready]));
    facts.extend(status.preparation.iter().flat_map(preparation));
    facts.extend(template(&status.template).map(|template| ["Template".to_owned(), template]));
    facts.extend(status.last_wake.as_ref().map(|wake| ["Last wake".to_owned(), summary(wake)]));
    facts.extend(status.last_failure.clone().map(|failure| ["Last failure".to_owned(), failure]));
    facts
}

/// What runs.
fn content(status: &EndpointStatus) -> Vec<[String; 2]> {
    let fact = |name: &str, value: String| [name.to_owned(), value];
    match (&status.image, status.model) {
        (Some(image), _) => vec![
            fact("Image", format!("{}, {}", image.reference.familiar(), size(image.bytes.get()))),
            fact("Manifest", image.manifest.to_string()),
            fact("Port", format!("{}, {}", image.port, image.app_protocol)),
            fact("Contract", format!("{}: {}", image.contract.name, image.contract.why)),
            fact(
                "Ids",
                match &image.ids {
                    ImageIdsMode::Distinct => "a range of its own for each replica".to_owned(),
                    ImageIdsMode::Shared { reason } => format!("shared by all images of this node: {reason}"),
                },
            ),
        ],
        (None, Some(model)) => vec![fact("Model", format!("{model}, {}", size(status.model_bytes.get())))],
        (None, None) => vec![fact("Serves", "nothing yet".to_owned())],
    }
}

fn preparation(preparation: &Preparation) -> Vec<[String; 2]> {
    let (prepared, verified) = match preparation {
        Preparation::Prepared { verified, .. } => (
            "yes".to_owned(),
            match verified {
                Verified::Sample => "sample",
                Verified::Seeded => "seeded",
                Verified::No => "no (give --sample)",
            },
        ),
        // There is nothing to compare.
        Preparation::Original { reason } => return vec![["Prepared".to_owned(), format!("no ({reason})")]],
    };
    vec![["Prepared".to_owned(), prepared], ["Verified".to_owned(), verified.to_owned()]]
}

/// None where none was asked for.
fn template(template: &TemplateUse) -> Option<String> {
    Some(match template {
        TemplateUse::Off => return None,
        TemplateUse::Impossible { reason } => format!("no ({reason})"),
        TemplateUse::None => "none".to_owned(),
        TemplateUse::Starting => "starting".to_owned(),
        TemplateUse::Ready { forks: 1 } => "ready, 1 replica forked".to_owned(),
        TemplateUse::Ready { forks } => format!("ready, {forks} replicas forked"),
        TemplateUse::HeldBack { cause } => format!("none for a while ({cause})"),
    })
}

fn template_row(template: &TemplateStatus) -> [String; 7] {
    [
        template.id.clone(),
        template.revision.to_string(),
        phase(template.phase).to_owned(),
        template.forks.to_string(),
        size(template.memory.get()),
        age(template.started_at_ms),
        template.control_group.clone(),
    ]
}

fn row(replica: &ReplicaStatus) -> [String; 7] {
    [
        replica.id.clone(),
        replica.revision.to_string(),
        phase(replica.phase).to_owned(),
        replica.leases.to_string(),
        size(replica.memory.get()),
        age(replica.started_at_ms),
        replica.control_group.clone(),
    ]
}

/// In whole seconds; empty where it has not been created.
fn age(started_at_ms: u64) -> String {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return String::new() };
    let age = now.saturating_sub(Duration::from_millis(started_at_ms));
    if started_at_ms == 0 { String::new() } else { format_duration(Duration::from_secs(age.as_secs())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_told_where_one_was_asked_for() {
        let no = |reason: &str| template(&TemplateUse::Impossible { reason: reason.to_owned() });
        assert_eq!(template(&TemplateUse::Off), None);
        assert_eq!(no("2 intra-op threads").as_deref(), Some("no (2 intra-op threads)"));
        assert_eq!(template(&TemplateUse::Ready { forks: 1 }).as_deref(), Some("ready, 1 replica forked"));
        assert_eq!(template(&TemplateUse::Ready { forks: 0 }).as_deref(), Some("ready, 0 replicas forked"));
    }

    #[test]
    fn a_start_in_the_future_is_now() {
        // The clock was set back since.
        assert_eq!(age(u64::MAX), "0s");
        assert_eq!(age(0), "", "not created yet");
    }
}
