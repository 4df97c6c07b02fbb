//! The command line: one file a verb.

mod daemon;
mod delete;
mod deploy;
mod error;
mod image;
mod infer;
mod logs;
mod ls;
mod node;
mod output;
mod serve;
mod status;
mod why;
mod worker;

use std::{ffi::OsString, io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use dormouse_spec::printable;
use tracing_subscriber::{EnvFilter, fmt};

use crate::{admin::Client, config, status::chain};
use error::CommandError;

const EXAMPLES: &str = "\
Examples:
  dormouse serve silero_vad.onnx                  try a model: a daemon that is gone on Ctrl-C
  dormouse daemon                                 the daemon that stays (see configs/dormouse.service)
  dormouse deploy silero_vad.onnx                 make an endpoint of a model; also: deploy -f service.yaml
  dormouse infer silero-vad --input request.json  call it; without --input it is called with zeros
  dormouse ls                                     what is deployed and what of it runs
  dormouse why silero-vad                         where the time of its last cold starts went
  curl http://127.0.0.1:8080/v2/models/silero-vad the same endpoint, as clients see it

Results go to stdout, progress and warnings to stderr. Exit status: 0 done, 1 failed, 2 wrong usage.";

/// Serverless inference for one machine: an ONNX model becomes an isolated HTTP endpoint that costs
/// nothing while nobody calls it.
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration [default: /etc/dormouse/dormouse.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where models and deployed endpoints are kept [default: /var/lib/dormouse]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the daemon's sockets are; tells several daemons apart [default: /run/dormouse]
    #[arg(long, global = true, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Daemon(daemon::Daemon),
    Deploy(deploy::Deploy),
    Ls(ls::Ls),
    Status(status::Status),
    Why(why::Why),
    Infer(infer::Infer),
    Logs(logs::Logs),
    Delete(delete::Delete),
    Image(image::Image),
    #[command(hide = true)]
    Node(node::Node),
    #[command(hide = true)]
    DeployAll(deploy::DeployAll),
}

/// Runs the program: reads the command line, does what it says, and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    // Before the command line is built: every millisecond of it would be part of a cold start.
    if let Some(rest) = worker::arguments(arguments.collect()) {
        return worker::run(rest);
    }
    let CommandLine { common, command } =
        CommandLine::parse_from(program.into_iter().chain(std::env::args_os().skip(1)));
    match run(command, &common) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A part of it may be what a replica or a file said.
            eprintln!("dormouse: {}", printable(&chain(&error)));
            error.exit_code()
        }
    }
}

fn run(command: Command, common: &Common) -> Result<(), CommandError> {
    match command {
        Command::Serve(serve) => serve.run(common),
        Command::Daemon(daemon) => daemon.run(common),
        Command::Deploy(deploy) => with_client(common, async |client| deploy.run(common, client).await),
        Command::DeployAll(deploy) => with_client(common, async |client| deploy.run(client).await),
        Command::Ls(ls) => with_client(common, async |client| ls.run(common, client).await),
        Command::Status(status) => with_client(common, async |client| status.run(common, client).await),
        Command::Why(why) => with_client(common, async |client| why.run(common, client).await),
        Command::Infer(infer) => with_client(common, async |client| infer.run(client).await),
        Command::Logs(logs) => with_client(common, async |client| logs.run(client).await),
        Command::Delete(delete) => with_client(common, async |client| delete.run(client).await),
        Command::Image(image) => with_client(common, async |client| image.run(common, client).await),
        Command::Node(node) => node.run(),
    }
}

/// Runs what talks to a daemon.
fn with_client(
    common: &Common,
    command: impl AsyncFnOnce(&Client) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let client = Client::new(config::run_directory(common.config.as_deref(), common.run.clone())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
    runtime.block_on(command(&client))
}

/// To stderr, one line an event; `RUST_LOG` says how much.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal).with_target(false).init();
}

/// Arguments of a child of this program that is to talk to the daemon of `run`.
fn child_arguments(verb: &str, run: PathBuf) -> Vec<OsString> {
    vec![verb.into(), "--run".into(), run.into()]
}
