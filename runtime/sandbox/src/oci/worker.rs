//! The container of a worker.

use std::path::Path;

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{Mount, UserBuilder},
};

use super::{Running, capabilities, common_mounts, mount, writable};
use crate::rootfs::{LIBRARY_DIRECTORY, MODEL_DIRECTORY, ONNXRUNTIME, PROGRAM};

/// Who every worker is inside its container.
pub(crate) const CONTAINER_UID: u32 = 65_532;
/// Descriptors of a worker: its connections are bounded far below.
const DESCRIPTORS_MAX: u64 = 4_096;
/// What its container calls itself.
pub(crate) const HOSTNAME: &str = "dormouse";

pub(crate) fn running() -> Result<Running, OciSpecError> {
    Ok(Running {
        user: UserBuilder::default().uid(CONTAINER_UID).gid(CONTAINER_UID).umask(0o077_u32).build()?,
        args: [PROGRAM, "worker", "--onnxruntime", ONNXRUNTIME].map(str::to_owned).into(),
        env: vec![
            "PATH=/usr/bin".to_owned(),
            "HOME=/tmp".to_owned(),
            format!("LD_LIBRARY_PATH={LIBRARY_DIRECTORY}"),
            "ORT_DISABLE_TELEMETRY=1".to_owned(),
        ],
        working_dir: "/".to_owned(),
        capabilities: capabilities(&[]),
        descriptors_max: DESCRIPTORS_MAX,
    })
}

/// `model` is the host's directory that appears as the model, already read-only, if one does.
pub(crate) fn mounts(tmp_bytes: u64, model: Option<&Path>) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = common_mounts()?;
    mounts.push(writable("/tmp", tmp_bytes, &["noexec"])?);
    if let Some(model) = model {
        mounts.push(mount(MODEL_DIRECTORY, "bind", model, &["bind", "ro", "nosuid", "nodev", "noexec"])?);
    }
    Ok(mounts)
}
