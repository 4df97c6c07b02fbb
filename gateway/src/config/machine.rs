//! What a setting left to the machine turns out to be.

use std::{
    io,
    path::{Path, PathBuf},
};

use dormouse_spec::{Bytes, Digest};

use super::ConfigError;

/// Left to the kernel, the daemon itself and whatever else runs on the node.
const MEMORY_RESERVE: Bytes = Bytes::from_mebibytes(512);
/// Less holds not even a small model.
const MEMORY_BUDGET_MIN: Bytes = Bytes::from_mebibytes(64);

pub(super) fn memory_budget() -> Result<Bytes, ConfigError> {
    let failed = |source| ConfigError::Machine { operation: "reading MemAvailable of /proc/meminfo", source };
    let text = std::fs::read_to_string("/proc/meminfo").map_err(failed)?;
    let available = available(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let budget = available.saturating_sub(MEMORY_RESERVE);
    if budget < MEMORY_BUDGET_MIN { Err(ConfigError::NoMemory { available }) } else { Ok(budget) }
}

fn available(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes::new(kibibytes << 10))
}

pub(super) fn cpus() -> Result<u32, ConfigError> {
    let count = std::thread::available_parallelism()
        .map_err(|source| ConfigError::Machine { operation: "counting processors", source })?;
    Ok(u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// The first of `candidates` that is a file; relative ones are seen from the running binary's
/// directory, so that an installation can be moved and a checkout works where it is.
pub(super) fn onnxruntime(candidates: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let binary = std::env::current_exe()
        .map_err(|source| ConfigError::Machine { operation: "finding the running binary", source })?;
    let beside = binary.parent().unwrap_or(Path::new("/"));
    let searched: Vec<PathBuf> = candidates.iter().map(|candidate| beside.join(candidate)).collect();
    searched.iter().find(|path| path.is_file()).and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        let searched = searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        ConfigError::NoOnnxRuntime { searched }
    })
}

/// Tells one build of ONNX Runtime from another.
pub(super) fn digest(onnxruntime: &Path) -> Result<Digest, ConfigError> {
    dormouse_image::file_digest(onnxruntime)
        .map_err(|source| ConfigError::Machine { operation: "reading the ONNX Runtime library", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       2000 kB\nMemFree:  10 kB\nMemAvailable:       1000 kB\n";
        assert_eq!(available(meminfo), Some(Bytes::new(1_024_000)));
        assert_eq!(available("MemTotal: 2000 kB\n"), None);
    }
}
