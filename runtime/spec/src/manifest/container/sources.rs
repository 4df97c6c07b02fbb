//! What values of a container are taken from, beside what is written where they are used.

use super::super::{pod_spec::Owner, resources::Resources};

#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) owner: &'a Owner<'a>,
    /// The container's, if it says one.
    pub(super) name: Option<String>,
    pub(super) resources: Resources,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Variable,
    File,
}
