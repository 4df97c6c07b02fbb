use std::{num::NonZeroU32, time::Duration};

use clap::Args;
use dormouse_controller::{LogQuery, TAIL_LINES_MAX};
use dormouse_spec::{EndpointName, parse_duration};

use super::{CommandError, output::print_line};
use crate::admin::Client;

/// Print what an endpoint's replicas wrote to stdout and stderr
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse logs silero-vad
  dormouse logs silero-vad -f                     and what they will write
  dormouse logs app --timestamps --since 10m      of the last ten minutes, with the time of each line
  dormouse logs app --tail 20                     the last lines of each replica

Lines begin with their replica. Times are UTC, and those at which the node read the line.")]
pub(super) struct Logs {
    name: EndpointName,
    /// Go on with lines as they are written
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was read
    #[arg(long)]
    timestamps: bool,
    /// Leave out what was read longer ago: `30s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Begin with the last lines of each replica
    #[arg(long, value_name = "N", value_parser = lines)]
    tail: Option<NonZeroU32>,
}

impl Logs {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        let Self { name, follow, timestamps, since, tail } = self;
        let query = LogQuery { follow, timestamps, since, tail };
        client.logs(name.as_str(), query, |line| print_line(line)).await
    }
}

fn lines(text: &str) -> Result<NonZeroU32, String> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= TAIL_LINES_MAX);
    count.ok_or_else(|| format!("a number from 1 to {TAIL_LINES_MAX}"))
}
