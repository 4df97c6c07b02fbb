//! What is served: an echo by the scripted worker, or the identity by the real one.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use dormouse_tests::{Home, Request, Script, endpoint::echo_body, paths};
use serde_json::{Value, json};

/// Key of the field `doc_string` in a `ModelProto`: number 6, length-delimited.
const DOC_STRING: u8 = 6 << 3 | 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Scripted,
    Real,
}

/// A number that no other request of this run carries, small enough for 32 bits of floating point.
pub(crate) fn unique_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

impl Worker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scripted => "scripted worker",
            Self::Real => "real worker",
        }
    }

    pub(crate) fn home(self) -> Home {
        let home = Home::of(match self {
            Self::Scripted => env!("CARGO_BIN_EXE_dormouse-fake"),
            Self::Real => env!("CARGO_BIN_EXE_dormouse-real"),
        });
        // As a daemon is by default: most wakes take a container that waited, the others make one.
        home.set("pool", "size", "2")
    }

    /// A model that differs from those of another `salt`, of less than 128 bytes.
    pub(crate) fn model(self, salt: &str) -> Vec<u8> {
        match self {
            Self::Scripted => Script::echo().salt(salt).to_model(),
            Self::Real => {
                let mut model = fs::read(paths::fixture("identity_matrix.onnx")).unwrap();
                model.extend([DOC_STRING, salt.len() as u8]);
                model.extend(salt.as_bytes());
                model
            }
        }
    }

    pub(crate) fn request(self, endpoint: &str, number: u64) -> Request {
        Request::infer(
            endpoint,
            &match self {
                Self::Scripted => echo_body(number as i64),
                Self::Real => {
                    let input =
                        json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [number, number] });
                    json!({ "inputs": [input] })
                }
            },
        )
    }

    /// Whether a body answers that request, of that endpoint.
    pub(crate) fn answers(self, body: &Value, endpoint: &str, number: u64) -> bool {
        let data = &body["outputs"][0]["data"];
        let is_whole = match self {
            Self::Scripted => *data == json!([number]),
            Self::Real => *data == json!([number as f64, number as f64]),
        };
        is_whole && body["model_name"] == endpoint
    }
}
