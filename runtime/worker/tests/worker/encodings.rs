//! Compressed bodies, both ways.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::http::Request;
use crate::process::Worker;

const JSON: &str = r#"{"inputs":[{"name":"IN_FP32","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}"#;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    body
}

#[test]
fn compressed_requests_and_answers() {
    let worker = Worker::start("identity_matrix.onnx");
    let plain = worker.infer(JSON).ok();
    assert_eq!(plain.header("content-encoding"), None);
    for (coding, body) in [("gzip", gzip(JSON.as_bytes())), ("deflate", zlib(JSON.as_bytes()))] {
        let request = Request::infer(&body).header("Content-Encoding", coding).header("Accept-Encoding", coding);
        let answer = worker.send(request).ok();
        assert_eq!(answer.header("content-encoding"), Some(coding));
        let inflated =
            if coding == "gzip" { read(GzDecoder::new(&*answer.body)) } else { read(ZlibDecoder::new(&*answer.body)) };
        assert_eq!(inflated, plain.body);
    }
    let chosen =
        worker.send(Request::infer(JSON.as_bytes()).header("Accept-Encoding", "gzip;q=0.1, deflate;q=0.2")).ok();
    assert_eq!(chosen.header("content-encoding"), Some("deflate"));
}

#[test]
fn the_json_length_counts_inflated_bytes() {
    let worker = Worker::start("identity_matrix.onnx");
    let json = r#"{"inputs":[{"name":"IN_FP32","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let body = gzip(&[json.as_bytes(), &[0; 8]].concat());
    let request = Request::infer(&body)
        .header("Content-Encoding", "gzip")
        .header("Inference-Header-Content-Length", &json.len().to_string());
    worker.send(request).ok();
}

#[test]
fn bad_encodings_are_refused() {
    let worker = Worker::start_with("identity_matrix.onnx", &["--body-bytes-max", "4096"]);
    let encoded = |coding: &str, body: &[u8]| worker.send(Request::infer(body).header("Content-Encoding", coding));
    assert!(encoded("br", b"x").error(415).contains("'br' is not supported"));
    assert!(encoded("gzip, gzip", b"x").error(415).contains("gzip, gzip"));
    assert!(encoded("gzip", b"not gzip").error(400).contains("not valid gzip"));
    let body = gzip(JSON.as_bytes());
    assert!(encoded("gzip", &body[..body.len() - 4]).error(400).contains("not valid gzip"));
    let bomb = gzip(&vec![b' '; 10 << 20]);
    assert!(bomb.len() > 4096, "the wire limit is hit first");
    assert!(encoded("gzip", &bomb).error(413).contains("limit of 4096 bytes (body_bytes_max)"));
    let bomb = gzip(&vec![b' '; 1 << 20]);
    assert!(encoded("gzip", &bomb).error(413).contains("inflated body is over the limit of 4096"));
    let unacceptable = Request::infer(JSON.as_bytes()).header("Accept-Encoding", "br, identity;q=0");
    assert!(worker.send(unacceptable).error(406).contains("Accept-Encoding"));
    worker.infer(JSON).ok();
}
