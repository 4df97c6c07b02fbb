//! Style that a compiler does not see.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dormouse_tests::paths;

const LINES_MAX: usize = 600;
/// Words that mean something is not finished. Split, so that this file is not one of them.
const UNFINISHED: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];
/// Names of drawers, not of concerns.
const DRAWERS: [&str; 5] = ["utils", "util", "common", "helpers", "misc"];

fn sources() -> Vec<PathBuf> {
    let folders = ["runtime", "gateway", "bench", "tests"].map(|name| paths::repository().join(name));
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(folder, &mut files));
    assert!(files.len() > 100);
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
}

#[test]
fn files_are_small_and_finished() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
        for word in UNFINISHED {
            assert!(!text.contains(word), "{} says {word}", file.display());
        }
    }
}

#[test]
fn modules_are_named_by_concern() {
    for file in sources() {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        // Below a crate's tests/, cargo takes every other file for a test of its own.
        let in_tests = file.components().any(|part| part.as_os_str() == "tests");
        assert!(stem != "mod" || in_tests, "{}: say foo.rs and foo/", file.display());
        assert!(!DRAWERS.contains(&stem), "{} names no concern", file.display());
    }
}
