use std::{env::consts::ARCH, fmt};

use serde::{Deserialize, Serialize};

/// What an image is made for, in the words of Go, which OCI uses: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The machine that this program was built for.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self { os: "linux".to_owned(), architecture: go_architecture(ARCH).to_owned(), variant: None }
    }

    /// How well an image for `image` runs on this machine: the smaller the better. `None` where it
    /// does not run at all.
    ///
    /// An arm64 image is for v8 unless it says something else, and that may be too new. A 32-bit
    /// arm image for an older variant runs on a newer one. One for amd64 with a variant above v1
    /// may need instructions that the processor lacks, so it is the last choice.
    #[must_use]
    pub fn rank(&self, image: &Self) -> Option<u8> {
        if (&image.os, &image.architecture) != (&self.os, &self.architecture) {
            return None;
        }
        match (image.architecture.as_str(), image.variant.as_deref().unwrap_or_default()) {
            ("arm64", "" | "v8") | ("arm", "" | "v7") | ("amd64", "" | "v1") => Some(0),
            ("arm", "v6") | ("amd64", "v2") => Some(1),
            ("arm", "v5") | ("amd64", "v3") => Some(2),
            ("amd64", "v4") => Some(3),
            ("arm64" | "arm" | "amd64", _) => None,
            (_, variant) => (variant == self.variant.as_deref().unwrap_or_default()).then_some(0),
        }
    }

    /// What BuildKit calls the entries of an index that hold attestations and no image.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

/// Rust's name of an architecture as Go's.
fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        same => same,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}
