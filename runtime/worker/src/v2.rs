//! The Open Inference Protocol V2 as bytes: no sockets, no model, no ONNX Runtime.
//!
//! Everything here is a pure function of untrusted bytes and a [`Signature`], and returns a `Result`: nothing may
//! panic whatever the bytes are. That also makes these functions the fuzz targets of this crate.

pub mod datatype;
pub mod encoding;
pub mod metadata;
pub mod request;
pub mod response;
pub mod shape;
pub mod signature;
pub mod tensor;

pub use datatype::Datatype;
pub use request::InferRequest;
pub use shape::Shape;
pub use signature::{Signature, TensorSpec};
pub use tensor::Tensor;
