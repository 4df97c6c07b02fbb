//! Where the bytes of a model are, and in which form.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::Deserialize;

/// One place a model can be loaded from.
#[derive(Debug)]
pub(crate) enum ModelSource {
    /// An ONNX graph in a file; external data lies beside it.
    OnnxFile(PathBuf),
    /// An ONNX graph behind a descriptor, with all of its data in it.
    Onnx(OwnedFd),
    /// A model in ORT format behind a descriptor, optimised for this machine. The file must not change while this
    /// process lives: its pages are the session's weights.
    Ort(OwnedFd),
}

/// A source as an assignment names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum AssignedSource {
    /// The file is visible in the container.
    OnnxFile { path: PathBuf },
    /// The next descriptor of the message.
    OnnxDescriptor {},
    /// The next descriptor of the message.
    OrtDescriptor {},
}

impl AssignedSource {
    pub(crate) fn has_descriptor(&self) -> bool {
        match self {
            Self::OnnxFile { .. } => false,
            Self::OnnxDescriptor {} | Self::OrtDescriptor {} => true,
        }
    }

    /// Joins it with its descriptor, where it has one; `None` where that did not come.
    pub(crate) fn with(self, descriptors: &mut impl Iterator<Item = OwnedFd>) -> Option<ModelSource> {
        Some(match self {
            Self::OnnxFile { path } => ModelSource::OnnxFile(path),
            Self::OnnxDescriptor {} => ModelSource::Onnx(descriptors.next()?),
            Self::OrtDescriptor {} => ModelSource::Ort(descriptors.next()?),
        })
    }
}
