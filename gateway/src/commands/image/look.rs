use clap::Args;
use dormouse_spec::ImageReference;

use super::reference;
use crate::{
    admin::{
        Client,
        api::images::{ImageDetails, ImageStatus, LayerStatus},
    },
    commands::{
        CommandError, Common,
        output::{print, print_json, size, table},
    },
};

/// Hex digits of a digest that are shown where it only has to be told from others.
const DIGITS: usize = 12;

/// List the images of this node
#[derive(Debug, Args)]
pub(in crate::commands) struct Ls {}

/// Show what an image is made of and how it wants to be run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dormouse image inspect busybox
  dormouse image inspect busybox --json | jq -r '.details.layers[].diff_id'")]
pub(in crate::commands) struct Inspect {
    #[arg(value_name = "IMAGE", value_parser = reference)]
    reference: ImageReference,
}

impl Ls {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let images = client.images().await?;
        if common.json {
            return print_json(&images);
        }
        let heading = ["IMAGE", "DIGEST", "PLATFORM", "STORED", "UNPACKED"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(images.iter().map(row)).collect();
        print(table(&rows))
    }
}

impl Inspect {
    pub(super) async fn run(self, common: &Common, client: &Client) -> Result<(), CommandError> {
        let image = client.image(&self.reference).await?;
        if common.json {
            return print_json(&image);
        }
        let heading = ["LAYER", "STORED", "UNPACKED", "ENTRIES", "LEFT OUT"].map(str::to_owned);
        let layers = image.details.iter().flat_map(|details| &details.layers).map(layer);
        let rows: Vec<_> = std::iter::once(heading).chain(layers).collect();
        print(format!("{}\n{}", table(&facts(&image)), table(&rows)))
    }
}

fn row(image: &ImageStatus) -> [String; 5] {
    [
        image.reference.familiar(),
        short(&image.digest),
        image.platform.clone().unwrap_or_else(|| "damaged".to_owned()),
        image.bytes.map(|bytes| size(bytes.get())).unwrap_or_default(),
        unpacked(image.unpacked_bytes.map(|bytes| bytes.get())),
    ]
}

fn facts(image: &ImageStatus) -> Vec<[String; 2]> {
    let mut facts = vec![
        ("Image", image.reference.to_string()),
        ("Digest", image.digest.to_string()),
        ("Registry's digest", image.source_digest.map_or_else(|| "none: imported".to_owned(), |it| it.to_string())),
    ];
    facts.extend(image.platform.clone().map(|platform| ("Platform", platform)));
    facts.extend(image.problem.clone().map(|problem| ("Problem", problem)));
    if let Some(ImageDetails { config, .. }) = &image.details {
        let root = || "root".to_owned();
        facts.extend([
            ("Entrypoint", words(&config.entrypoint)),
            ("Command", words(&config.cmd)),
            ("User", if config.user.is_empty() { root() } else { config.user.clone() }),
            (
                "Working directory",
                if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
            ),
            ("Exposed ports", config.exposed_ports.join(", ")),
            ("Stop signal", config.stop_signal.clone().unwrap_or_else(|| "SIGTERM".to_owned())),
            ("Environment", words(&config.env)),
        ]);
    }
    facts.into_iter().map(|(name, value)| [name.to_owned(), value]).collect()
}

/// As a list, since a word can have spaces.
fn words(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
}

fn layer(layer: &LayerStatus) -> [String; 5] {
    let left_out = layer.left_out.as_ref().map(|left_out| {
        let counts = [(left_out.devices, "devices"), (left_out.attributes, "attributes"), (left_out.notes, "notes")];
        let told = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        told.collect::<Vec<_>>().join(", ")
    });
    [
        short(&layer.digest),
        size(layer.bytes.get()),
        unpacked(layer.unpacked_bytes.map(|bytes| bytes.get())),
        layer.entries.map(|entries| entries.to_string()).unwrap_or_default(),
        left_out.unwrap_or_default(),
    ]
}

fn unpacked(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "no".to_owned(), size)
}

fn short(digest: &dormouse_spec::Digest) -> String {
    digest.hex().chars().take(DIGITS).collect()
}
