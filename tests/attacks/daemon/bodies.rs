//! Bodies without measure.

use std::io::Write;

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::Request;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use crate::target::{BODY_BYTES_MAX, each_is_refused, good, home, identity};

/// What a bomb inflates to.
const INFLATED_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 1 << 20;

pub(crate) fn over_the_limit(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    let path = endpoint.path("/infer");
    let over = BODY_BYTES_MAX + 1;
    let chunk = [format!("{PIECE_BYTES:x}\r\n").into_bytes(), vec![b' '; PIECE_BYTES], b"\r\n".to_vec()].concat();
    let chunked = [chunk.repeat(over / PIECE_BYTES + 1), b"0\r\n\r\n".to_vec()].concat();
    let undeclared = Request::new("POST", &path).header("transfer-encoding", "chunked").bare_body(chunked);
    let bad = [
        ("declared", Request::post(&path, vec![b' '; over]), 413),
        ("undeclared", undeclared, 413),
        (
            "declared beyond all bounds",
            Request::new("POST", &path).header("content-length", "18446744073709551613").bare_body(""),
            413,
        ),
    ];
    each_is_refused(&endpoint, &good(&endpoint), &bad)
}

pub(crate) fn bombs(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    let piece = vec![b' '; PIECE_BYTES];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..INFLATED_BYTES / PIECE_BYTES {
        gzip.write_all(&piece).unwrap();
        deflate.write_all(&piece).unwrap();
    }
    let encoded = |coding, body| Request::post(&endpoint.path("/infer"), body).header("content-encoding", coding);
    let gzip = gzip.finish().unwrap();
    let bad = [
        ("gzip", encoded("gzip", gzip.clone()), 413),
        ("deflate", encoded("deflate", deflate.finish().unwrap()), 413),
        ("gzip twice", encoded("gzip, gzip", gzip), 415),
    ];
    each_is_refused(&endpoint, &good(&endpoint), &bad)
}
