//! The worker as a process, with the real ONNX Runtime, over its socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod contained;
mod control;
mod datatypes;
mod encodings;
mod http;
mod lifecycle;
mod process;
mod system_calls;
mod template;
