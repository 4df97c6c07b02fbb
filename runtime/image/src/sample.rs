//! Models for tests, as protobuf writes them: just enough to hold tensors.

/// A field that holds bytes: a text or a message.
pub(crate) fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn varint_field(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A tensor whose data is in the model.
pub(crate) fn tensor(raw_data: &[u8]) -> Vec<u8> {
    [varint_field(2, 1), field(8, b"weight"), field(9, raw_data)].concat()
}

pub(crate) fn external_tensor(location: &str) -> Vec<u8> {
    let place = [field(1, b"location"), field(2, location.as_bytes())].concat();
    let offset = [field(1, b"offset"), field(2, b"0")].concat();
    [field(8, b"weight"), field(13, &offset), field(13, &place), varint_field(14, 1)].concat()
}

pub(crate) fn graph_with(initializer: &[u8]) -> Vec<u8> {
    [field(2, b"graph"), field(5, initializer)].concat()
}

/// A model with one initializer for each file of external data.
pub(crate) fn model_with(locations: &[&str]) -> Vec<u8> {
    let initializers: Vec<u8> = locations.iter().flat_map(|location| field(5, &external_tensor(location))).collect();
    field(7, &initializers)
}
