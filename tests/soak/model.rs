//! What is served: an echo by the scripted worker, the identity by the real one, or an echo by a web server of an image.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use dormouse_tests::{Daemon, Home, Request, Script, daemon::manifest, endpoint::echo_body, paths};
use serde_json::{Value, json};

use crate::image;

/// Key of the field `doc_string` in a `ModelProto`: number 6, length-delimited.
const DOC_STRING: u8 = 6 << 3 | 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Scripted,
    Real,
    Image,
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
            Self::Image => "image",
        }
    }

    /// Whether its replicas can be forked of a template.
    pub(crate) fn has_templates(self) -> bool {
        self != Self::Image
    }

    pub(crate) fn home(self) -> Home {
        let home = Home::of(match self {
            Self::Scripted => env!("CARGO_BIN_EXE_dormouse-fake"),
            Self::Real | Self::Image => env!("CARGO_BIN_EXE_dormouse-real"),
        });
        // As a daemon is by default: most wakes take a container that waited, the others make one.
        home.set("pool", "size", "2")
    }

    /// What it needs before anything is deployed.
    pub(crate) fn bring(self, daemon: &Daemon) {
        if self == Self::Image {
            image::bring(daemon);
        }
    }

    /// The end of that.
    pub(crate) fn take_away(self, daemon: &Daemon) {
        if self == Self::Image {
            image::take_away(daemon);
        }
    }

    /// A manifest that differs from those of another `salt`, of less than 128 bytes; with the model that it names, where
    /// it names one.
    pub(crate) fn manifest(self, home: &Home, name: &str, salt: &str, settings: &[(&str, &str)]) -> String {
        let model = match self {
            Self::Scripted => Script::echo().salt(salt).to_model(),
            Self::Real => {
                let mut model = fs::read(paths::fixture("identity_matrix.onnx")).unwrap();
                model.extend([DOC_STRING, salt.len() as u8]);
                model.extend(salt.as_bytes());
                model
            }
            Self::Image => return image::manifest(name, salt, settings),
        };
        manifest(name, &home.write(&format!("{name}.onnx"), model), settings)
    }

    pub(crate) fn request(self, endpoint: &str, number: u64) -> Request {
        match self {
            Self::Scripted => Request::infer(endpoint, &echo_body(number as i64)),
            Self::Real => {
                let input = json!({ "name": "IN_FP32", "datatype": "FP32", "shape": [1, 2], "data": [number, number] });
                Request::infer(endpoint, &json!({ "inputs": [input] }))
            }
            Self::Image => image::request(endpoint, number),
        }
    }

    /// Whether a body answers that request, of that endpoint.
    pub(crate) fn answers(self, body: &Value, endpoint: &str, number: u64) -> bool {
        let data = &body["outputs"][0]["data"];
        let is_whole = match self {
            Self::Scripted | Self::Image => *data == json!([number]),
            Self::Real => *data == json!([number as f64, number as f64]),
        };
        is_whole && body["model_name"] == endpoint
    }
}
