//! What daemons are told that the measurements differ by, as sections of the configuration.

/// Every wake from zero makes its sandbox.
pub(crate) const WITHOUT_POOL: &str = "[pool]\nsize = 0\n";
/// Blank workers for the wakes beside a measured one, and two more.
pub(crate) const WITH_POOL: &str = "[pool]\nsize = 4\n";
/// As many as that.
pub(crate) const POOL_SIZE: usize = 4;
/// Replicas are forked from a process that holds their session, and that stays.
pub(crate) const WITH_TEMPLATE: &str = "[endpoint.defaults]\nkeep_template = \"1h\"\n";
/// As it is installed.
pub(crate) const DEFAULT: &str = "";
