mod call;
mod zeros;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use dormouse_spec::{EndpointName, printable};
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};

use self::{call::call, zeros::ModelMetadata};
use super::{CommandError, output::print_line};
use crate::admin::Client;

/// Call an endpoint once and print the answer as V2 JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse infer minilm                           zeros, every dynamic dimension 1, to see that it answers
  dormouse infer magika --input request.json
  echo '{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[0.5]}]}' | dormouse infer m --input -")]
pub(super) struct Infer {
    name: EndpointName,
    /// A V2 inference request as JSON; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

impl Infer {
    pub(super) async fn run(self, client: &Client) -> Result<(), CommandError> {
        let listen = client.node().await?.listen;
        let model = format!("/v2/models/{}", self.name);
        let mut headers = HeaderMap::new();
        let body = match &self.input {
            Some(input) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                read(input)?
            }
            None => {
                let metadata = call(listen, Method::GET, &model, headers.clone(), Vec::new()).await?;
                let metadata: ModelMetadata = serde_json::from_slice(&metadata).map_err(CommandError::Metadata)?;
                let request = zeros::request(&metadata)?;
                eprintln!("no --input: sending zeros for {}", printable(&request.shapes));
                headers.insert(zeros::JSON_LENGTH_HEADER, HeaderValue::from(request.json_bytes));
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                request.body
            }
        };
        print_line(shown(call(listen, Method::POST, &format!("{model}/infer"), headers, body).await?))
    }
}

/// An answer is the replica's own words: for a program they stay as they are, for a person they must
/// not be the terminal's.
fn shown(answer: Bytes) -> Bytes {
    if !std::io::stdout().is_terminal() {
        return answer;
    }
    let lines: Vec<String> = String::from_utf8_lossy(&answer).split('\n').map(printable).collect();
    lines.join("\n").into()
}

fn read(input: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = if input == Path::new("-") {
        std::io::copy(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(input)
    };
    read.map_err(|source| CommandError::Read { what: input.display().to_string(), source })
}
