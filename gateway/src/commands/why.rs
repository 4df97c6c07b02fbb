use std::time::Duration;

use clap::Args;
use dormouse_controller::{Asked, Rung, WakeOutcome, WakePhase};
use dormouse_sandbox::messages::{CreatePhases, Origin, Premade};
use dormouse_spec::{EndpointName, format_duration};

use super::{
    CommandError, Common,
    output::{print, print_json, print_line, table},
};
use crate::admin::{
    Client,
    api::{PhaseTime, WakeStatus},
};

/// Show where the time of an endpoint's last wakes went, phase by phase
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse why silero-vad
  dormouse why silero-vad -n 16
  dormouse why silero-vad --json | jq '.[0].phases'

A wake is what it takes from nothing, or from a frozen replica, to the head of the first answer:
  queue            until there was memory for a replica
  template         until a template had loaded the model, or was given up
  create           until its container was there: control group, namespaces, mounts, filter, devices
  claim            until a container that waited had its model, instead of `create`
  fork             until its template had the order, instead of `create`
  thaw             until a frozen replica ran again
  start            until its program ran, and messages
  runtime          until ONNX Runtime was there
  model            until the model's bytes were at hand
  session          until ONNX Runtime could run them
  body             ready before the request's body was here: this part costs the client nothing
  first inference  until the head of the answer

The daemon remembers the last 16 of each endpoint while its node process lives. A start that failed is one
of them, with its cause. See also: dormouse status NAME, and the section `Why was it slow?` of docs/operations.md.")]
pub(super) struct Why {
    name: EndpointName,
    /// The most wakes to show, the newest first
    #[arg(short = 'n', long = "wakes", value_name = "N", default_value_t = 3)]
    wakes: usize,
}

/// Characters of a bar that stands for all of a wake.
const BAR_CHARS: u64 = 40;

impl Why {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let mut wakes = client.wakes(self.name.as_str()).await?;
        wakes.truncate(self.wakes);
        if common.json {
            return print_json(&wakes);
        }
        if wakes.is_empty() {
            return print_line(format!("{} was not woken since the node process started", self.name));
        }
        let told: Vec<String> = wakes.iter().map(tell).collect();
        print(told.join("\n"))
    }
}

fn tell(wake: &WakeStatus) -> String {
    let rows: Vec<_> = wake.phases.iter().map(|time| row(time, wake)).collect();
    let indented: String = table(&rows).lines().map(|line| format!("  {line}\n")).collect();
    format!("{}\n{indented}", summary(wake))
}

/// One wake in a line.
pub(super) fn summary(wake: &WakeStatus) -> String {
    let ago = format_duration(Duration::from_secs(wake.ago_ms / 1_000));
    let rung = match wake.rung {
        Rung::Created => "created",
        Rung::Claimed => "claimed",
        Rung::Forked => "forked",
        Rung::Frozen => "thawed",
    };
    let asked = match wake.asked {
        Asked::Request => "a request",
        Asked::MinReplicas => "minReplicas",
    };
    let outcome = match &wake.outcome {
        WakeOutcome::Answered => "answered",
        WakeOutcome::Ready => "ready",
        WakeOutcome::Unused => "whoever asked was gone",
        WakeOutcome::Unanswered => "the first request got no answer",
        WakeOutcome::Failed { cause } => &format!("failed: {cause}"),
    };
    format!("{ago} ago, {rung} for {asked}, {}, {outcome}", millis(wake.total_us))
}

fn row(PhaseTime { phase, us }: &PhaseTime, wake: &WakeStatus) -> [String; 5] {
    let share = |of: u64| us.saturating_mul(of).checked_div(wake.total_us).unwrap_or(0);
    let bar = usize::try_from(share(BAR_CHARS).min(BAR_CHARS)).unwrap_or(0);
    let parts = match (phase, wake.origin) {
        (WakePhase::Create, Some(Origin::Created(phases))) => parts(phases),
        (WakePhase::Claim, Some(Origin::Claimed(claim))) => {
            format!("{} of it in the spawner, {}", millis(claim.claim_us), Premade::Blank(claim.blank).name())
        }
        (WakePhase::Fork, Some(Origin::Forked(fork))) => {
            format!("{} of it in the spawner, {}", millis(fork.order_us), Premade::Fork(fork.fork).name())
        }
        _ => String::new(),
    };
    [phase.name().replace('-', " "), millis(*us), format!("{:>3} %", share(100)), "#".repeat(bar), parts]
}

fn parts(CreatePhases { fork_us, cgroup_us, container_us, release_us }: CreatePhases) -> String {
    let parts = [("fork", fork_us), ("cgroup", cgroup_us), ("container", container_us), ("release", release_us)];
    parts.map(|(part, us)| format!("{part} {}", millis(us))).join(", ")
}

/// For people: `76.2 ms`.
fn millis(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use dormouse_sandbox::messages::Fork;

    use super::*;

    fn wake(outcome: WakeOutcome, phases: &[(WakePhase, u64)]) -> WakeStatus {
        WakeStatus {
            replica: "m-1-1".to_owned(),
            ago_ms: 72_900,
            rung: Rung::Created,
            asked: Asked::Request,
            outcome,
            total_us: 80_000,
            phases: phases.iter().map(|(phase, us)| PhaseTime { phase: *phase, us: *us }).collect(),
            origin: Some(Origin::Created(CreatePhases {
                fork_us: 400,
                cgroup_us: 14_000,
                container_us: 5_000,
                release_us: 600,
            })),
        }
    }

    #[test]
    fn each_phase_has_its_share_and_a_creation_its_parts() {
        let phases = [(WakePhase::Queue, 100), (WakePhase::Create, 20_000), (WakePhase::FirstInference, 59_900)];
        assert_eq!(
            tell(&wake(WakeOutcome::Answered, &phases)),
            "1m12s ago, created for a request, 80.0 ms, answered\n  \
             queue            0.1 ms     0 %\n  \
             create           20.0 ms   25 %  ##########                     fork 0.4 ms, cgroup 14.0 ms, container 5.0 ms, release 0.6 ms\n  \
             first inference  59.9 ms   74 %  #############################\n"
        );
    }

    #[test]
    fn a_fork_shows_what_it_waited_for() {
        let phases = [(WakePhase::Queue, 100), (WakePhase::Template, 40_000), (WakePhase::Fork, 8_000)];
        let origin = Some(Origin::Forked(Fork { fork: 3, order_us: 300 }));
        let told = tell(&WakeStatus { rung: Rung::Forked, origin, ..wake(WakeOutcome::Answered, &phases) });
        assert!(told.contains("forked for a request"), "{told}");
        assert!(told.contains("template  40.0 ms   50 %"), "{told}");
        assert!(told.contains("0.3 ms of it in the spawner"), "{told}");
    }

    #[test]
    fn a_failure_tells_its_cause_and_nothing_divides_by_nothing() {
        let cause = "no such op".to_owned();
        let failed = WakeStatus { total_us: 0, ..wake(WakeOutcome::Failed { cause }, &[(WakePhase::Queue, 0)]) };
        assert_eq!(
            tell(&failed),
            "1m12s ago, created for a request, 0.0 ms, failed: no such op\n  queue  0.0 ms    0 %\n"
        );
    }
}
