use crate::{admin::api::DeployEvent, commands::output::size};

/// Each quarter of a model at least this large is told while it is stored.
const STORING_TOLD_BYTES: u64 = 256 << 20;

/// What was told of a deploy's steps.
pub(super) struct Progress<'a> {
    name: &'a str,
    /// What its first replica is started for.
    probing: &'static str,
    quarters: Option<u64>,
}

impl<'a> Progress<'a> {
    pub(super) fn of_a_model(name: &'a str) -> Self {
        Self { name, probing: "one confined replica loads the model", quarters: None }
    }

    pub(super) fn of_an_image(name: &'a str) -> Self {
        Self { name, probing: "one confined replica is started until it takes requests", quarters: None }
    }

    pub(super) fn tell(&mut self, step: &DeployEvent) {
        let name = self.name;
        match step {
            DeployEvent::Storing { bytes_done, bytes_total } => {
                let tellable = *bytes_total >= STORING_TOLD_BYTES;
                let quarters = if tellable { bytes_done.saturating_mul(4) / bytes_total } else { 0 };
                if self.quarters.replace(quarters) != Some(quarters) {
                    eprintln!("{name}: storing, {} of {}", size(*bytes_done), size(*bytes_total));
                }
            }
            DeployEvent::Probing => eprintln!("{name}: probing, {}", self.probing),
            DeployEvent::Preparing => eprintln!("{name}: preparing, another one optimises it for this machine"),
            DeployEvent::Committing => eprintln!("{name}: committing"),
            DeployEvent::Deployed { .. } | DeployEvent::Failed { .. } => {}
        }
    }
}
