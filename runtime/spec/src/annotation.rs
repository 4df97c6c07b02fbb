/// Settings that the standard manifests have no field for are annotations under this prefix, each
/// the kebab-case name of a setting: `dormouse.dev/freeze-after: 30s`.
pub const ANNOTATION_PREFIX: &str = "dormouse.dev/";
