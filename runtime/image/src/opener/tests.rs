#![allow(clippy::unwrap_used)]
use std::{fs, io::Read, os::unix::fs::symlink};

use rustix::fs::CWD;
use tempfile::TempDir;

use super::*;
use crate::sample::model_with;

/// A directory `model` with `model.onnx` that refers to `external`, inside one that is not its own.
fn model_directory(external: &[&str]) -> (TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let directory = outside.path().join("model");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(MODEL_FILE), model_with(external)).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    (outside, directory)
}

fn content(file: ModelFile) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut opened = File::from(file.file);
    std::io::Seek::rewind(&mut opened).unwrap();
    opened.read_to_end(&mut bytes).unwrap();
    (file.path.to_string(), bytes)
}

#[test]
fn a_directory_and_its_file_give_the_same_model() {
    let (_outside, directory) = model_directory(&["w.bin", "deep/v.bin"]);
    fs::create_dir(directory.join("deep")).unwrap();
    fs::write(directory.join("w.bin"), "w").unwrap();
    fs::write(directory.join("deep/v.bin"), "v").unwrap();
    fs::write(directory.join("unrelated"), "u").unwrap();
    for path in [directory.clone(), directory.join(MODEL_FILE)] {
        let files: Vec<_> = open_model(&path).unwrap().into_iter().map(content).collect();
        assert_eq!(files[0], (MODEL_FILE.to_owned(), model_with(&["w.bin", "deep/v.bin"])));
        assert_eq!(files[1..], [("deep/v.bin".to_owned(), b"v".to_vec()), ("w.bin".to_owned(), b"w".to_vec())]);
    }
}

#[test]
fn a_file_of_any_name_becomes_the_model() {
    let (_outside, directory) = model_directory(&[]);
    fs::rename(directory.join(MODEL_FILE), directory.join("silero_vad.onnx")).unwrap();
    symlink(directory.join("silero_vad.onnx"), directory.join("link.onnx")).unwrap();
    for name in ["silero_vad.onnx", "link.onnx"] {
        let files = open_model(&directory.join(name)).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path.as_str(), MODEL_FILE);
    }
}

#[test]
fn a_link_that_stays_beneath_is_followed() {
    let (_outside, directory) = model_directory(&["w.bin"]);
    fs::write(directory.join("real.bin"), "w").unwrap();
    symlink("real.bin", directory.join("w.bin")).unwrap();
    assert_eq!(open_model(&directory).unwrap().len(), 2);
}

#[test]
fn external_data_cannot_be_outside() {
    let (outside, directory) = model_directory(&["w.bin"]);
    symlink(outside.path(), directory.join("up")).unwrap();
    for target in ["../secret", outside.path().join("secret").to_str().unwrap(), "up/secret", "/proc/self/exe", "w.bin"]
    {
        symlink(target, directory.join("w.bin")).unwrap();
        let error = open_model(&directory).unwrap_err();
        assert!(matches!(error, OpenError::Leaves { .. }), "{target}: {error}");
        fs::remove_file(directory.join("w.bin")).unwrap();
    }
    for name in ["../secret", "/etc/passwd"] {
        fs::write(directory.join(MODEL_FILE), model_with(&[name])).unwrap();
        let error = open_model(&directory).unwrap_err();
        assert!(matches!(error, OpenError::Onnx { source: OnnxError::Location(_), .. }), "{name}: {error}");
    }
    fs::write(directory.join(MODEL_FILE), model_with(&["up/secret"])).unwrap();
    assert!(matches!(open_model(&directory).unwrap_err(), OpenError::Leaves { .. }));
}

#[test]
fn the_model_of_a_directory_cannot_be_outside() {
    let (outside, directory) = model_directory(&[]);
    fs::rename(directory.join(MODEL_FILE), outside.path().join("m.onnx")).unwrap();
    symlink("../m.onnx", directory.join(MODEL_FILE)).unwrap();
    assert!(matches!(open_model(&directory).unwrap_err(), OpenError::Open { .. }));
}

#[test]
fn only_regular_files_are_opened() {
    let (_outside, directory) = model_directory(&["w.bin"]);
    let external = directory.join("w.bin");
    fs::create_dir(&external).unwrap();
    assert_eq!(kind_refused(&directory), "a directory");
    fs::remove_dir(&external).unwrap();

    // Nobody has the other end: an open that waits for it would never return.
    rustix::fs::mknodat(CWD, &external, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(kind_refused(&directory), "a FIFO");
    let model = directory.join("fifo.onnx");
    fs::rename(&external, &model).unwrap();
    assert_eq!(kind_refused(&model), "a FIFO");

    let device = directory.join("device.onnx");
    symlink("/dev/zero", &device).unwrap();
    assert_eq!(kind_refused(&device), "a device");

    let socket = directory.join("socket.onnx");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(open_model(&socket).unwrap_err(), OpenError::Open { .. }));
}

fn kind_refused(path: &Path) -> &'static str {
    match open_model(path).unwrap_err() {
        OpenError::NotRegular { kind, .. } => kind,
        other => panic!("{other}"),
    }
}

#[test]
fn errors_name_what_is_missing() {
    let (_outside, directory) = model_directory(&["weights.bin"]);
    let missing = open_model(&directory).unwrap_err().to_string();
    assert!(missing.ends_with("model.onnx` refers to external data `weights.bin`, which does not exist beside it"));
    fs::write(directory.join("weights.bin"), "").unwrap();
    fs::write(directory.join(MODEL_FILE), model_with(&["weights.bin/x"])).unwrap();
    assert!(matches!(open_model(&directory).unwrap_err(), OpenError::Missing { .. }));

    let absent = directory.join("absent.onnx");
    let OpenError::Open { path, source } = open_model(&absent).unwrap_err() else { panic!() };
    assert_eq!((path, source.kind()), (absent, io::ErrorKind::NotFound));

    fs::remove_file(directory.join(MODEL_FILE)).unwrap();
    assert!(matches!(open_model(&directory).unwrap_err(), OpenError::NotAModel { .. }));
    assert!(matches!(open_model(&directory.join("weights.bin")).unwrap_err(), OpenError::NotAModel { .. }));
}

#[test]
fn a_model_that_takes_its_own_name_is_refused_and_a_damaged_one_is_left_to_the_runtime() {
    let (_outside, directory) = model_directory(&[MODEL_FILE]);
    assert!(matches!(open_model(&directory).unwrap_err(), OpenError::NameTaken { .. }));
    fs::write(directory.join(MODEL_FILE), "no protobuf").unwrap();
    assert_eq!(open_model(&directory).unwrap().len(), 1);
}
