//! Files of the container, and of whatever else is in reach.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use dormouse_driver::worker::{errno, outcome};

/// How deep a search goes.
const DEPTH_MAX: u32 = 6;

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| errno(&error))
}

/// What is in a file that came with the assignment.
pub(super) fn handed_over(file: Option<&OwnedFd>) -> String {
    let Some(file) = file else { return "nothing".to_owned() };
    let mut text = String::new();
    let mut file = File::from(file.try_clone().unwrap());
    file.read_to_string(&mut text).map_or_else(|error| errno(&error), |_| text)
}

pub(super) fn list(path: &str) -> String {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return errno(&error),
    };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}

/// The first file below a directory, `DIRECTORY NAME`, whose name begins like that.
pub(super) fn find(argument: &str) -> String {
    let (directory, name) = argument.split_once(' ').unwrap();
    below(Path::new(directory), name, DEPTH_MAX).unwrap_or_default()
}

fn below(directory: &Path, name: &str, depth: u32) -> Option<String> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.filter_map(Result::ok).collect();
    let here = entries.iter().find(|entry| entry.file_name().to_string_lossy().starts_with(name));
    if let Some(found) = here {
        return Some(found.path().display().to_string());
    }
    let mut directories = entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    if depth == 0 { None } else { directories.find_map(|entry| below(&entry.path(), name, depth - 1)) }
}

pub(super) fn create(path: &str) -> String {
    outcome(File::create_new(path))
}

pub(super) fn open(path: &str) -> String {
    outcome(OpenOptions::new().read(true).write(true).open(path))
}

/// Writes to a file that is there: `PATH TEXT`.
pub(super) fn overwrite(argument: &str) -> String {
    let (path, text) = argument.split_once(' ').unwrap();
    outcome(OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())))
}
