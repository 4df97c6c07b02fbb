//! What a prepared model depends on. Where any of it is another, it is prepared anew.

use std::{collections::BTreeSet, fs, io, path::Path};

use dormouse_spec::Digest;
use sha2::{Digest as _, Sha256};

/// How a session is configured, as `configure` in runtime/worker/src/model.rs does it, and in which
/// form it is saved. A change of either needs another text here.
const OPTIONS: &str = "dormouse prepared model 1: ORT format, all optimisations, one inter-op thread, prepacking";

const CPU_INFO: &str = "/proc/cpuinfo";
/// Processors of which the kernel tells the features, x86 and ARM.
const FEATURES: [&str; 2] = ["flags", "Features"];

/// What the keys of all models of this node have in common.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    common: Sha256,
}

impl Keys {
    pub(super) fn of_this_machine(library: &Digest) -> io::Result<Self> {
        Ok(Self::new(library, &cpu_features(Path::new(CPU_INFO))?))
    }

    fn new(library: &Digest, features: &BTreeSet<String>) -> Self {
        let mut common = Sha256::new();
        for part in [OPTIONS, &library.hex(), std::env::consts::ARCH] {
            add(&mut common, part);
        }
        for feature in features {
            add(&mut common, feature);
        }
        Self { common }
    }

    /// Threads are a part of it: ONNX Runtime is free to optimise for their number.
    pub(super) fn key(&self, model: &Digest, intra_op_threads: u32) -> Digest {
        let mut key = self.common.clone();
        add(&mut key, &model.hex());
        add(&mut key, &intra_op_threads.to_string());
        Digest::from_sha256(key.finalize().into())
    }
}

/// No part holds a zero byte, so no two lists of parts read alike.
fn add(hasher: &mut Sha256, part: &str) {
    hasher.update(part);
    hasher.update([0]);
}

/// The features of every processor; those of a machine with two kinds of cores differ.
fn cpu_features(path: &Path) -> io::Result<BTreeSet<String>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let features: BTreeSet<String> = lines
        .filter(|(name, _)| FEATURES.contains(&name.trim()))
        .map(|(_, features)| {
            features.split_whitespace().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
        })
        .collect();
    if features.is_empty() { Err(io::Error::other("no features of a processor in it")) } else { Ok(features) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn features(text: &str) -> io::Result<BTreeSet<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        cpu_features(file.path())
    }

    #[test]
    fn each_part_makes_another_key() {
        let [one, other] = [1, 2].map(|byte| Digest::from_sha256([byte; 32]));
        let avx = features("flags\t\t: fpu avx\n").unwrap();
        let base = Keys::new(&one, &avx).key(&one, 1);
        assert_eq!(base, Keys::new(&one, &avx).key(&one, 1));
        for changed in [
            Keys::new(&other, &avx).key(&one, 1),
            Keys::new(&one, &features("flags : fpu\n").unwrap()).key(&one, 1),
            Keys::new(&one, &avx).key(&other, 1),
            Keys::new(&one, &avx).key(&one, 2),
        ] {
            assert_ne!(base, changed);
        }
    }

    #[test]
    fn features_are_a_set_whatever_their_order_and_the_count_of_processors() {
        let one = features("processor : 0\nflags : avx fpu\nMHz : 1000.1\n").unwrap();
        let two = features("processor : 0\nflags : fpu avx\nMHz : 2000.2\nprocessor : 1\nflags : fpu avx\n").unwrap();
        assert_eq!(one, two);
        let arm = features("Features\t: fp asimd\nprocessor: 1\nFeatures\t: fp asimd sve\n").unwrap();
        assert_eq!(arm.len(), 2, "two kinds of cores");
        assert!(features("processor : 0\n").is_err());
    }

    #[test]
    fn this_machine_tells_its_features() {
        Keys::of_this_machine(&Digest::from_sha256([1; 32])).unwrap();
    }
}
