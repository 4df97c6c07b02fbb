//! When replicas run and how many: leases on demand, one task per endpoint, policy without I/O.

mod acquire;
mod address;
mod clock;
mod configs;
mod controller;
mod defence;
mod deploy;
mod directory;
mod endpoint;
mod error_chain;
mod expectation;
mod images;
mod job;
mod lease;
mod link;
mod liveness;
mod logs;
mod loss;
mod memory;
mod metadata;
mod metrics;
mod node;
mod policy;
mod preparation;
mod probe;
mod readiness;
mod registered;
mod revision;
mod settings;
mod store;
mod view;
mod wake;
mod watch;

pub use acquire::{AcquireError, Place};
pub(crate) use address::OrderError;
pub use address::{Address, Inside, Stream};
pub use controller::{Controller, StartError};
pub use deploy::{
    DeleteError, DeployError, DeployProgress, DeployRequest, DeployStep, Deployed, DeployedContent, ModelFile,
};
pub use dormouse_image::{ArchiveError, DiskUse, ImageStoreError, Verified};
pub use expectation::Expectation;
pub use images::{
    Collected, GcThresholds, ImageContent, ImageError, ImageProgress, ImageSettings, ImageView, Images, LayerView,
    NoThresholds, PullRequest, Removed, UnpackedView,
};
pub use lease::Lease;
pub use link::{LinkError, SpawnerLink, Welcome};
pub use logs::{LogError, LogLines, LogQuery, TAIL_LINES_MAX};
pub use loss::LossCause;
pub use metadata::Metadata;
pub use preparation::{Preparation, SAMPLE_BYTES_MAX};
pub use revision::contract::ContractChoice;
pub use settings::ControllerSettings;
pub use view::{Condition, EndpointView, Phase, ReplicaView, ServedImage, TemplateUse, TemplateView};
pub use wake::{Asked, Rung, WakeOutcome, WakePhase, WakeView};
