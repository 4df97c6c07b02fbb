use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use dormouse_sandbox::spawner;

use super::{CommandError, Common, child_arguments, daemon, log_to_stderr};
use crate::config::{self, Overrides};

/// Try models: a foreground daemon with these deployed, gone without a trace on Ctrl-C (root)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse serve silero_vad.onnx
  dormouse serve models/magika models/minilm.onnx --listen 127.0.0.1:9000
  dormouse serve resnet.onnx --name vision

Everything lives in a fresh directory under --run, unless --data says where to keep it. The other
commands find this daemon by themselves; where several run, they ask for the --run it prints.")]
pub(super) struct Serve {
    /// An .onnx file, or a directory with a model.onnx in it
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What to call the endpoint, where there is one PATH [default: after the file]
    #[arg(long)]
    name: Option<String>,
    /// Address for inference requests [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self, common: &Common) -> Result<(), CommandError> {
        if self.name.is_some() && self.paths.len() > 1 {
            return Err(CommandError::Usage("--name is for one PATH"));
        }
        let parent = config::run_directory(common.config.as_deref(), common.run.clone())?;
        let run = parent.join(format!("serve-{}", std::process::id()));
        let data = common.data.clone().unwrap_or_else(|| run.join("data"));
        let overrides = Overrides { listen: self.listen, data: Some(data), run: Some(run.clone()) };
        log_to_stderr();
        // Before the memory that there is is looked at.
        spawner::end_abandoned(&parent);
        let settings = config::load(common.config.as_deref(), &overrides)?;
        let mut companion = child_arguments("deploy-all", run);
        companion.extend(self.name.into_iter().flat_map(|name| ["--name".into(), name.into()]));
        companion.push("--".into());
        companion.extend(self.paths.into_iter().map(Into::into));
        daemon::start(settings, Some(companion))
    }
}
