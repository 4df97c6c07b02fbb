//! What an ONNX model says about the files beside it.
//!
//! The graph is never built: messages are walked where they stand and everything else, tensor data
//! above all, is skipped by seeking. Time grows with the number of fields, memory does not grow.

mod message;
mod wire;

use std::{
    collections::BTreeSet,
    io::{self, BufReader, Read, Seek},
};

use message::Message;
use wire::{Wire, WireType};

use crate::{MODEL_FILES_MAX, RelativePath, RelativePathError};

/// Messages within messages: four for each subgraph within a subgraph.
const DEPTH_MAX: usize = 100;
/// A location in external data; longer ones are no path in any case.
const LOCATION_BYTES_MAX: u64 = 4_096;
const KEY_BYTES_MAX: u64 = 256;

/// Why the bytes are no ONNX model that can be deployed.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error("reading failed at byte {at}")]
    Read {
        at: u64,
        #[source]
        source: io::Error,
    },
    #[error("it is no ONNX model or is damaged: at byte {at} {what}")]
    Malformed { at: u64, what: &'static str },
    #[error("its graphs are more than {DEPTH_MAX} messages deep at byte {at}")]
    TooDeep { at: u64 },
    #[error("it refers to more than {} files of external data", MODEL_FILES_MAX - 1)]
    TooManyFiles,
    #[error("it refers to external data that it may not read")]
    Location(#[source] RelativePathError),
}

/// The files of external data that a model refers to, in the order of their names, from anywhere in
/// it: initializers, sparse ones, attributes, subgraphs, functions and training graphs.
///
/// `bytes` is the model's length; `reader` stands at its beginning.
///
/// # Errors
/// [`OnnxError`] where the model is damaged or names a file outside its directory.
pub fn external_data(reader: impl Read + Seek, bytes: u64) -> Result<Vec<RelativePath>, OnnxError> {
    let mut walk = Walk { wire: Wire::new(BufReader::new(reader)), found: BTreeSet::new() };
    walk.message(Message::Model, bytes, DEPTH_MAX)?;
    Ok(walk.found.into_iter().collect())
}

struct Walk<R> {
    wire: Wire<R>,
    found: BTreeSet<RelativePath>,
}

/// What a tensor says of where its data is. Other fields may stand between the parts.
#[derive(Debug, Default)]
struct DataPlace {
    external: bool,
    locations: Vec<String>,
}

impl<R: Read + Seek> Walk<R> {
    /// Walks one message, which ends at byte `end`.
    fn message(&mut self, message: Message, end: u64, depth: usize) -> Result<(), OnnxError> {
        let Some(depth) = depth.checked_sub(1) else { return Err(OnnxError::TooDeep { at: self.wire.at() }) };
        if message == Message::Tensor {
            return self.tensor(end);
        }
        while self.wire.at() < end {
            let (field, wire_type) = self.wire.key(end)?;
            match (wire_type, message.child(field)) {
                (WireType::Bytes, Some(child)) => {
                    let child_end = self.wire.bytes_end(end)?;
                    self.message(child, child_end, depth)?;
                }
                _ => self.wire.skip(wire_type, end)?,
            }
        }
        Ok(())
    }

    fn tensor(&mut self, end: u64) -> Result<(), OnnxError> {
        let mut place = DataPlace::default();
        while self.wire.at() < end {
            match self.wire.key(end)? {
                (message::TENSOR_EXTERNAL_DATA, WireType::Bytes) => {
                    let entry_end = self.wire.bytes_end(end)?;
                    self.external_data_entry(entry_end, &mut place)?;
                }
                (message::TENSOR_DATA_LOCATION, WireType::Varint) => {
                    place.external = self.wire.varint(end)? == message::DATA_LOCATION_EXTERNAL;
                }
                (_, wire_type) => self.wire.skip(wire_type, end)?,
            }
        }
        if !place.external {
            return Ok(());
        }
        for location in place.locations {
            self.found.insert(location.parse().map_err(OnnxError::Location)?);
        }
        // The graph itself is one of a model's files.
        if self.found.len() >= MODEL_FILES_MAX { Err(OnnxError::TooManyFiles) } else { Ok(()) }
    }

    /// One pair of key and value; the key `location` has the file's name.
    fn external_data_entry(&mut self, end: u64, place: &mut DataPlace) -> Result<(), OnnxError> {
        let mut is_location = false;
        let mut value = None;
        while self.wire.at() < end {
            match self.wire.key(end)? {
                (message::ENTRY_KEY, WireType::Bytes) => {
                    is_location = self.wire.text(end, KEY_BYTES_MAX)? == message::LOCATION_KEY;
                }
                (message::ENTRY_VALUE, WireType::Bytes) => value = Some(self.wire.text(end, LOCATION_BYTES_MAX)?),
                (_, wire_type) => self.wire.skip(wire_type, end)?,
            }
        }
        if let Some(location) = value.filter(|_| is_location) {
            if place.locations.len() >= MODEL_FILES_MAX {
                return Err(OnnxError::TooManyFiles);
            }
            place.locations.push(location);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
