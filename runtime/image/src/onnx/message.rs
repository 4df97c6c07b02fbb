//! The messages of `onnx.proto` through which a tensor can be reached, and their field numbers.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Function,
    TrainingInfo,
}

pub(super) const TENSOR_EXTERNAL_DATA: u64 = 13;
pub(super) const TENSOR_DATA_LOCATION: u64 = 14;
pub(super) const DATA_LOCATION_EXTERNAL: u64 = 1;
pub(super) const ENTRY_KEY: u64 = 1;
pub(super) const ENTRY_VALUE: u64 = 2;
pub(super) const LOCATION_KEY: &str = "location";

impl Message {
    /// The message in a field of this one, where it may lead to a tensor.
    pub(super) fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Model, 20) => Some(Self::TrainingInfo),
            (Self::Model, 25) => Some(Self::Function),
            (Self::TrainingInfo, 1 | 2) => Some(Self::Graph),
            (Self::Function, 7) => Some(Self::Node),
            (Self::Function, 11) => Some(Self::Attribute),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) => Some(Self::Tensor),
            (Self::Graph, 15) => Some(Self::SparseTensor),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::SparseTensor, 1 | 2) => Some(Self::Tensor),
            _ => None,
        }
    }
}
