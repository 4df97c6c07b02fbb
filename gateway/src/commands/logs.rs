use clap::Args;
use dormouse_spec::EndpointName;

use super::{CommandError, output::print_line};
use crate::admin::Client;

/// Print what an endpoint's replicas wrote to stdout and stderr
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse logs silero-vad
  dormouse logs silero-vad -f        and what they will write")]
pub(super) struct Logs {
    name: EndpointName,
    /// Go on with lines as they are written
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        client.logs(self.name.as_str(), self.follow, |line| print_line(line)).await
    }
}
