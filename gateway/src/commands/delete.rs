use clap::Args;
use dormouse_spec::EndpointName;

use super::CommandError;
use crate::admin::Client;

/// Delete an endpoint: finish its running requests, stop its replicas, forget its model
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dormouse delete silero-vad")]
pub(super) struct Delete {
    name: EndpointName,
}

impl Delete {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        client.delete(self.name.as_str()).await?;
        eprintln!("{}: deleted", self.name);
        Ok(())
    }
}
