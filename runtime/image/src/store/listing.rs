use dormouse_spec::Digest;
use sha2::{Digest as _, Sha256};

use crate::RelativePath;

/// One file as it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFile {
    pub(super) path: RelativePath,
    pub(super) sha256: [u8; 32],
    pub(super) bytes: u64,
}

/// Keeps digests of listings apart from digests of anything else, and of listings of other forms.
const FORM: &[u8] = b"dormouse model 1\n";

/// The digest of a model: of the listing of its files in the order of their paths, each with its
/// length and content. A model of one file has the same form, so it is never that file's own.
pub(super) fn digest(files: &[StoredFile]) -> Digest {
    let mut sorted: Vec<&StoredFile> = files.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut hasher = Sha256::new();
    hasher.update(FORM);
    for file in sorted {
        // No path holds a zero byte, and the rest has a fixed length: no two listings read alike.
        hasher.update(file.path.as_str());
        hasher.update([0]);
        hasher.update(file.sha256);
        hasher.update(file.bytes.to_be_bytes());
    }
    Digest::from_sha256(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str, content: u8, bytes: u64) -> StoredFile {
        StoredFile { path: path.parse().unwrap(), sha256: [content; 32], bytes }
    }

    #[test]
    fn the_order_of_files_does_not_matter_and_everything_else_does() {
        let (model, data) = (file("model.onnx", 1, 10), file("w.bin", 2, 20));
        let base = digest(&[model.clone(), data.clone()]);
        assert_eq!(base, digest(&[data.clone(), model.clone()]));
        for other in [
            vec![model.clone()],
            vec![model.clone(), file("w.bin", 3, 20)],
            vec![model.clone(), file("w.bin", 2, 21)],
            vec![model, file("v.bin", 2, 20)],
        ] {
            assert_ne!(base, digest(&other));
        }
    }

    #[test]
    fn the_form_is_fixed() {
        assert_eq!(
            digest(&[file("model.onnx", 0, 0)]).hex(),
            "07aa3e1f52b85d934f17bef92c079bfde1deb333938e526e859f891ebe19da5a"
        );
    }
}
