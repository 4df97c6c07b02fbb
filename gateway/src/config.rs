//! What the operator configured: the file as it is written, and the settings it resolves to.
//!
//! The file's shape ([`file`]) rejects what it does not know; [`resolve`] turns it, the command
//! line and the machine into [`DaemonSettings`], where everything is present and within bounds.
//! The rest of the program sees only those.

mod bounds;
mod defaults;
mod error;
mod file;
mod machine;
mod settings;

use std::path::{Path, PathBuf};

pub use error::ConfigError;
pub use machine::await_freed_memory;
pub use settings::{DaemonSettings, GatewaySettings, ImageSettings, NodeSettings, Overrides};

use file::ConfigFile;
use settings::resolve;

/// Read where `--config` names no other file.
pub const DEFAULT_PATH: &str = "/etc/dormouse/dormouse.toml";

/// The configuration of a daemon: the file, what the command line overrides, and this machine.
///
/// # Errors
/// [`ConfigError`] is one line that names the file, the line and the key.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<DaemonSettings, ConfigError> {
    resolve(read(path)?, overrides)
}

/// As [`load`] for a text that is not in a file yet. It is read as [`DEFAULT_PATH`] would be.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, overrides: &Overrides) -> Result<DaemonSettings, ConfigError> {
    let file = ConfigFile::parse(text).map_err(|fault| fault.in_file(Path::new(DEFAULT_PATH)))?;
    resolve(file, overrides)
}

/// The directory of the daemon to talk to: `--run`, else what the configuration says.
///
/// # Errors
/// As [`load`], where a file was named.
pub fn run_directory(path: Option<&Path>, run: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let run = match (run, path) {
        (Some(run), _) => run,
        (None, Some(path)) => read(Some(path))?.node.run,
        // Not everyone who may call the daemon may read its configuration.
        (None, None) => read(None).unwrap_or_default().node.run,
    };
    Ok(settings::absolute(run))
}

fn read(path: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    let named = path.unwrap_or(Path::new(DEFAULT_PATH));
    match std::fs::read_to_string(named) {
        Ok(text) => ConfigFile::parse(&text).map_err(|fault| fault.in_file(named)),
        Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(source) => Err(ConfigError::Read { path: named.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
