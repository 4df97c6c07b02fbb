#![allow(clippy::unwrap_used)]
use std::io::{Cursor, SeekFrom};

use proptest::prelude::*;

use super::*;
use crate::sample::{external_tensor, field, graph_with, model_with, tensor, varint, varint_field};

fn files(model: &[u8]) -> Result<Vec<String>, OnnxError> {
    let found = external_data(Cursor::new(model), model.len() as u64)?;
    Ok(found.iter().map(ToString::to_string).collect())
}

/// A graph in which `tensor` is an attribute of a node.
fn attribute(attribute_field: u64, value: &[u8]) -> Vec<u8> {
    field(7, &field(1, &field(5, &field(attribute_field, value))))
}

#[test]
fn external_data_is_found_wherever_a_tensor_may_be() {
    let tensor = external_tensor("w.bin");
    let graph = graph_with(&tensor);
    let attribute_of_function = field(25, &field(7, &field(5, &field(5, &tensor))));
    let function_default = field(25, &field(11, &field(5, &tensor)));
    for (place, model) in [
        ("initializer", field(7, &graph)),
        ("sparse values", field(7, &field(15, &field(1, &tensor)))),
        ("sparse indices", field(7, &field(15, &field(2, &tensor)))),
        ("attribute t", attribute(5, &tensor)),
        ("attribute tensors", attribute(10, &tensor)),
        ("attribute g", attribute(6, &graph)),
        ("attribute graphs", attribute(11, &graph)),
        ("attribute sparse_tensor", attribute(22, &field(1, &tensor))),
        ("attribute sparse_tensors", attribute(23, &field(1, &tensor))),
        ("subgraph of a subgraph", attribute(6, &field(1, &field(5, &field(6, &graph))))),
        ("function", attribute_of_function),
        ("function default", function_default),
        ("training", field(20, &field(1, &graph))),
        ("training algorithm", field(20, &field(2, &graph))),
    ] {
        assert_eq!(files(&model).unwrap(), ["w.bin"], "{place}");
    }
}

#[test]
fn names_are_normalised_sorted_and_single() {
    let model = model_with(&["b.bin", "./a.bin", "b.bin", "x//y.bin"]);
    assert_eq!(files(&model).unwrap(), ["a.bin", "b.bin", "x/y.bin"]);
    assert_eq!(files(&[]).unwrap(), [""; 0]);
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let entry = [field(2, b"w.bin"), field(1, b"location")].concat();
    let tensor = [varint_field(14, 1), field(13, &entry)].concat();
    assert_eq!(files(&field(7, &graph_with(&tensor))).unwrap(), ["w.bin"]);
}

#[test]
fn data_inside_the_model_and_other_keys_name_no_file() {
    let location = [field(1, b"location"), field(2, b"w.bin")].concat();
    let offset = [field(1, b"offset"), field(2, b"../4096")].concat();
    for tensor in [
        tensor(&[1; 100]),
        field(13, &location),
        [field(13, &location), varint_field(14, 0)].concat(),
        [field(13, &offset), varint_field(14, 1)].concat(),
    ] {
        assert_eq!(files(&field(7, &graph_with(&tensor))).unwrap(), [""; 0]);
    }
}

#[test]
fn names_outside_the_directory_are_refused() {
    for name in ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b", "*/../../x"] {
        let error = files(&model_with(&[name])).unwrap_err();
        assert!(matches!(error, OnnxError::Location(_)), "{name:?}: {error}");
    }
    let long = "a".repeat(5_000);
    assert!(matches!(files(&model_with(&[&long])), Err(OnnxError::Malformed { .. })));
}

#[test]
fn there_are_limits() {
    let names: Vec<String> = (0..MODEL_FILES_MAX).map(|index| format!("{index}.bin")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(files(&model_with(&names[1..])).unwrap().len(), MODEL_FILES_MAX - 1);
    assert!(matches!(files(&model_with(&names)), Err(OnnxError::TooManyFiles)));

    let mut graph = graph_with(&external_tensor("w.bin"));
    for _ in 0..DEPTH_MAX {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(matches!(files(&field(7, &graph)), Err(OnnxError::TooDeep { .. })));
}

#[test]
fn what_is_no_model_is_refused() {
    for (what, bytes) in [
        ("text", b"hello, this is text".to_vec()),
        ("an archive", b"PK\x03\x04\x14\x00".to_vec()),
        ("zeros", vec![0; 32]),
        ("a field longer than the file", vec![0x3a, 0xff, 0xff, 0x03, 0]),
        ("a length past the end of numbers", [&[0x3a][..], &[0xff; 9], &[0x01]].concat()),
        ("a number without end", vec![0xff; 32]),
        ("a group", vec![0x3b, 0x3c]),
        ("a tensor longer than its graph", field(7, &[0x2a, 0x7f, 0, 0])),
    ] {
        let error = files(&bytes).unwrap_err();
        assert!(matches!(error, OnnxError::Malformed { .. }), "{what}: {error}");
    }
}

/// Counts what is read of a long file of which only the beginning is not zero.
struct Sparse {
    head: Vec<u8>,
    at: u64,
    read: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        if let Some(rest) = usize::try_from(self.at).ok().and_then(|at| self.head.get(at..)) {
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
        }
        self.at += buffer.len() as u64;
        self.read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(offset) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = self.at.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[test]
fn tensor_data_is_not_read() {
    const RAW_BYTES: u64 = 1 << 40;
    let raw_data_field = [&[0x4a][..], &varint(RAW_BYTES)].concat();
    let tensor_bytes = raw_data_field.len() as u64 + RAW_BYTES;
    let initializer = [&[0x2a][..], &varint(tensor_bytes)].concat();
    let graph_bytes = initializer.len() as u64 + tensor_bytes;
    let head = [&[0x3a][..], &varint(graph_bytes), &initializer, &raw_data_field].concat();
    let total = head.len() as u64 + RAW_BYTES;
    let mut file = Sparse { head, at: 0, read: 0 };
    assert_eq!(external_data(&mut file, total).unwrap(), []);
    assert!(file.read < 1 << 20, "{} bytes were read", file.read);
}

#[test]
fn a_truncated_model_is_an_error_and_never_a_panic() {
    let model = model_with(&["a.bin", "b.bin"]);
    for end in 1..model.len() {
        assert!(files(&model[..end]).is_err(), "the first {end} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = files(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0_usize..64, byte in any::<u8>()) {
        let mut model = model_with(&["a.bin", "weights/b.bin"]);
        if let Some(damaged) = model.get_mut(at) {
            *damaged = byte;
        }
        let _ = files(&model);
    }
}
