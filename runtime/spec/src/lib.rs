//! What is asked: manifests and settings in, validated types out.
//!
//! Everything here is pure: no I/O, no clock, no async. A value of one of these types has already
//! been checked, so the rest of the system never validates again.

mod annotation;
mod container;
mod default_name;
mod digest;
mod duration;
mod endpoint;
mod image_reference;
mod limits;
pub mod manifest;
mod name;
mod printable;
mod quantity;

pub use annotation::{ANNOTATION_KEYS, ANNOTATION_KEYS_OF_IMAGES, ANNOTATION_PREFIX, AnnotationError};
pub use container::{
    AppProtocol, Container, Contract, ContractError, EMPTY_DIR_DISK_DEFAULT, ENV_MAX, EnvVar, EnvVarError,
    FileContents, FilePath, FilePathError, HostPathType, Medium, MountPath, MountPathError, Network, NetworkError,
    NonRootError, PORT_DEFAULT, PROCESS_BYTES_MAX, Probe, ProbeHandler, StopSignal, StopSignalError, VOLUME_BYTES_MAX,
    VOLUME_FILES_MAX, VOLUME_MOUNTS_MAX, Volume, VolumeFile, VolumeMount, WORDS_MAX,
};
pub use default_name::{DefaultName, DefaultNameError};
pub use digest::{Digest, DigestError};
pub use duration::{DurationError, format_duration, parse_duration};
pub use endpoint::{
    CONTAINER_CONCURRENCY_MAX, Endpoint, EndpointDefaults, EndpointError, EndpointRequest, PIDS_MAX, Requests,
};
pub use image_reference::{ImageReference, ImageReferenceError, Registry};
pub use limits::Limits;
pub use name::{Alias, EndpointName, NameError};
pub use printable::printable;
pub use quantity::{Bytes, MilliCpu, QuantityError};
