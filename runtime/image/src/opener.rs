use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{
    MODEL_FILE, ModelFile, RelativePath,
    onnx::{self, OnnxError},
};

/// Why a path leads to no model.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{}` cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is no model: expected an .onnx file or a directory with a {MODEL_FILE} in it", path.display())]
    NotAModel { path: PathBuf },
    #[error("`{}` is {kind}, not a regular file", path.display())]
    NotRegular { path: PathBuf, kind: &'static str },
    #[error("`{}` cannot be deployed", path.display())]
    Onnx {
        path: PathBuf,
        #[source]
        source: OnnxError,
    },
    #[error("`{}` refers to external data `{file}`, which does not exist beside it", model.display())]
    Missing { model: PathBuf, file: RelativePath },
    #[error(
        "`{}` refers to external data `{file}`, which leaves its directory by a symbolic link; put a copy there",
        model.display()
    )]
    Leaves { model: PathBuf, file: RelativePath },
    #[error("`{}` calls external data {MODEL_FILE}, the name that the model itself is stored under", model.display())]
    NameTaken { model: PathBuf },
}

/// Opens all files of the model at `path`, an `.onnx` file or a directory with [`MODEL_FILE`],
/// with the rights of the caller. The graph comes first, and is called [`MODEL_FILE`] whatever it
/// is called on disk; its external data is opened beneath its directory only.
///
/// # Errors
/// See [`OpenError`].
pub fn open_model(path: &Path) -> Result<Vec<ModelFile>, OpenError> {
    let found = open(path)?;
    let (model_path, directory, model) = if kind(&found, path)? == FileType::Directory {
        let model_path = path.join(MODEL_FILE);
        let model = open_beneath(&found, Path::new(MODEL_FILE)).map_err(|source| match source {
            Errno::NOENT => OpenError::NotAModel { path: path.to_owned() },
            source => OpenError::Open { path: model_path.clone(), source: source.into() },
        })?;
        (model_path, found, model)
    } else {
        if path.extension().is_none_or(|extension| extension != "onnx") {
            return Err(OpenError::NotAModel { path: path.to_owned() });
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (path.to_owned(), open(parent)?, found)
    };
    open_files(&model_path, &directory, model)
}

fn open_files(model_path: &Path, directory: &OwnedFd, model: OwnedFd) -> Result<Vec<ModelFile>, OpenError> {
    let bytes = regular(&model, model_path)?;
    let failed = |source| OpenError::Onnx { path: model_path.to_owned(), source };
    let model = File::from(model);
    let external = match onnx::external_data(&model, bytes) {
        // ONNX Runtime, in its sandbox, says better what is wrong with a damaged model.
        Err(OnnxError::Malformed { .. }) => Vec::new(),
        found => found.map_err(failed)?,
    };
    let path = MODEL_FILE.parse().map_err(OnnxError::Location).map_err(failed)?;
    let mut files = vec![ModelFile { path, file: model.into() }];
    for path in external {
        if path.as_str() == MODEL_FILE {
            return Err(OpenError::NameTaken { model: model_path.to_owned() });
        }
        let file = open_external(model_path, directory, &path)?;
        files.push(ModelFile { path, file });
    }
    Ok(files)
}

fn open_external(model_path: &Path, directory: &OwnedFd, path: &RelativePath) -> Result<OwnedFd, OpenError> {
    let on_disk = || model_path.with_file_name(path.as_str());
    let file = open_beneath(directory, path.as_path()).map_err(|source| match source {
        Errno::NOENT | Errno::NOTDIR => OpenError::Missing { model: model_path.to_owned(), file: path.clone() },
        Errno::XDEV | Errno::LOOP => OpenError::Leaves { model: model_path.to_owned(), file: path.clone() },
        source => OpenError::Open { path: on_disk(), source: source.into() },
    })?;
    regular(&file, &on_disk())?;
    Ok(file)
}

/// A FIFO must not keep the caller waiting for its other end, nor a terminal become the caller's.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open(path: &Path) -> Result<OwnedFd, OpenError> {
    rustix::fs::open(path, FLAGS, Mode::empty())
        .map_err(|source| OpenError::Open { path: path.to_owned(), source: source.into() })
}

fn open_beneath(directory: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, FLAGS, Mode::empty(), resolve)
}

fn kind(file: impl AsFd, path: &Path) -> Result<FileType, OpenError> {
    let stat = stat(file, path)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn stat(file: impl AsFd, path: &Path) -> Result<rustix::fs::Stat, OpenError> {
    rustix::fs::fstat(file).map_err(|source| OpenError::Open { path: path.to_owned(), source: source.into() })
}

/// The length of a file that is regular, in bytes.
fn regular(file: impl AsFd, path: &Path) -> Result<u64, OpenError> {
    let stat = stat(file, path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    };
    Err(OpenError::NotRegular { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests;
