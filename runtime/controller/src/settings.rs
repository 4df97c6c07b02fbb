use std::{path::PathBuf, time::Duration};

use dormouse_spec::{Bytes, Digest, EndpointDefaults};

use crate::ImageSettings;

/// What the composition root decided for the controller.
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// `DATA`: `models/`, `prepared/`, `images/`, `layers/`, `configs/` and `endpoints/` live here.
    pub data: PathBuf,
    /// `RUN`: `sockets/` (made by the spawner) and `logs/` live here.
    pub run: PathBuf,
    pub defaults: EndpointDefaults,
    /// The sha256 of the ONNX Runtime that models are prepared for; `None` prepares none.
    pub prepare_for: Option<Digest>,
    /// The sum of memory limits of everything that runs never exceeds it.
    pub memory_budget: Bytes,
    pub node_cpus: u32,
    pub images: ImageSettings,
    /// The largest request body a worker accepts, inflated.
    pub body_bytes_max: u64,
    pub crash_back_off_first: Duration,
    pub crash_back_off_max: Duration,
    pub crash_back_off_reset: Duration,
    /// Each replica keeps two log files of at most this size.
    pub log_file_bytes_max: u64,
    /// How long a replica's log outlives it.
    pub log_kept_after_exit: Duration,
}
