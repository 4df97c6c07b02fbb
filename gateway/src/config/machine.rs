//! What a setting left to the machine turns out to be.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use dormouse_spec::{Bytes, Digest};

use super::ConfigError;

/// Left to the kernel, the daemon itself and whatever else runs on the node.
const MEMORY_RESERVE: Bytes = Bytes::from_mebibytes(512);
/// Less holds not even a small model.
const MEMORY_BUDGET_MIN: Bytes = Bytes::from_mebibytes(64);

/// Between two looks at memory that the kernel frees.
const FREED_EVERY: Duration = Duration::from_millis(50);
/// What is freed in that time at least, as long as it goes on.
const FREED_LEAST: Bytes = Bytes::from_mebibytes(16);
const FREED_LOOKS_MAX: u32 = 40;

/// Waits until file systems in memory are freed that ended with their last process: the kernel does that beside whoever
/// waits for the processes.
pub fn await_freed_memory() {
    let mut before = Bytes::new(u64::MAX);
    for _ in 0..FREED_LOOKS_MAX {
        let Ok(shared) = memory("Shmem:") else { return };
        if before.saturating_sub(shared) < FREED_LEAST {
            return;
        }
        before = shared;
        std::thread::sleep(FREED_EVERY);
    }
}

pub(super) fn memory_budget() -> Result<Bytes, ConfigError> {
    let available = memory("MemAvailable:")?.saturating_add(kept_per_processor());
    let budget = available.saturating_sub(MEMORY_RESERVE);
    if budget < MEMORY_BUDGET_MIN { Err(ConfigError::NoMemory { available }) } else { Ok(budget) }
}

fn memory(field: &'static str) -> Result<Bytes, ConfigError> {
    let failed = |source| ConfigError::Machine { operation: "reading /proc/meminfo", source };
    let text = std::fs::read_to_string("/proc/meminfo").map_err(failed)?;
    bytes_of(field, &text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

/// Free pages that the kernel holds ready for each processor, a good part of all after much was freed. `MemAvailable` is
/// without them, though they are given up as soon as memory is short. Nothing where they cannot be read.
fn kept_per_processor() -> Bytes {
    let pages = pages_per_processor(&std::fs::read_to_string("/proc/zoneinfo").unwrap_or_default());
    Bytes::new(pages.saturating_mul(rustix::param::page_size() as u64))
}

fn pages_per_processor(zoneinfo: &str) -> u64 {
    let counts = zoneinfo.lines().filter_map(|line| line.trim().strip_prefix("count:")?.trim().parse::<u64>().ok());
    counts.fold(0, u64::saturating_add)
}

fn bytes_of(field: &str, meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
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
        assert_eq!(bytes_of("MemAvailable:", meminfo), Some(Bytes::new(1_024_000)));
        assert_eq!(bytes_of("MemAvailable:", "MemTotal: 2000 kB\n"), None);
    }

    #[test]
    fn free_pages_of_every_processor_in_every_zone_are_counted() {
        let zoneinfo = "Node 0, zone    DMA32\n  pages free     9\n  pagesets\n    cpu: 0\n              count:    1234\n              \
                        high:     9\n    cpu: 1\n              count: 66\nNode 0, zone   Normal\n              count: 700\n";
        assert_eq!(pages_per_processor(zoneinfo), 2_000);
        assert_eq!(pages_per_processor(""), 0);
    }
}
