//! What must hold before anything is made: each refusal is one line that says what to do.

use std::{fs, path::PathBuf};

use dormouse_spec::MountPath;
use nix::unistd::{Group, User, geteuid};

use crate::{
    creation::LentPath,
    uids::{ImageIds, UidError, UidRange},
};

/// Why the daemon refuses to start on this machine.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    #[error("the daemon must be started as root: it makes namespaces and control groups (try `sudo dormouse …`)")]
    NotRoot,
    #[error("kernel {found} is too old: {}.{} or newer is needed", KERNEL_OLDEST.0, KERNEL_OLDEST.1)]
    Kernel { found: String },
    #[error("there is no user `{0}`: create it with `useradd --system --no-create-home --shell /usr/sbin/nologin {0}`")]
    NoUser(String),
    #[error("the node process must not run as root: set `user` in [node] to an unprivileged one")]
    NodeIsRoot,
    #[error("looking up `{name}` failed")]
    Lookup {
        name: String,
        #[source]
        source: nix::Error,
    },
    #[error("the daemon's own program cannot be found")]
    Program(#[source] std::io::Error),
    #[error(transparent)]
    Uids(#[from] UidError),
    #[error(
        "`{inner}` and `{outer}` of `host_paths` in [sandbox] are one within the other: what is written to one could \
         lead the other elsewhere; lend the outer one alone"
    )]
    LentTwice { inner: MountPath, outer: MountPath },
}

/// The oldest kernel with everything the sandbox uses.
const KERNEL_OLDEST: (u32, u32) = (5, 15);

/// What the checks found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) program: PathBuf,
    pub(crate) node_uid: u32,
    pub(crate) node_gid: u32,
    pub(crate) admin_gid: Option<u32>,
    pub(crate) uids: UidRange,
    pub(crate) image_ids: ImageIds,
}

pub(crate) fn check(settings: &super::SpawnerSettings) -> Result<Found, PreflightError> {
    if !geteuid().is_root() {
        return Err(PreflightError::NotRoot);
    }
    check_kernel(&rustix::system::uname().release().to_string_lossy())?;
    let name = &settings.node_user;
    let lookup = |source| PreflightError::Lookup { name: name.clone(), source };
    let user = User::from_name(name).map_err(lookup)?.ok_or_else(|| PreflightError::NoUser(name.clone()))?;
    if user.uid.is_root() {
        return Err(PreflightError::NodeIsRoot);
    }
    // Without the group only root is served, which the CLI explains to whoever is refused.
    let admin = Group::from_name(&settings.admin_group).map_err(lookup)?;
    check_lent(&settings.lent)?;
    let uids = UidRange::new(settings.uid_base, settings.uid_count)?;
    Ok(Found {
        program: std::env::current_exe().map_err(PreflightError::Program)?,
        node_uid: user.uid.as_raw(),
        node_gid: user.gid.as_raw(),
        admin_gid: admin.map(|group| group.gid.as_raw()),
        uids,
        image_ids: ImageIds::new(settings.image_id_base, uids)?,
    })
}

/// By where they are, links followed. One that is not there, as on a disk that is mounted later, is where it says.
fn check_lent(lent: &[LentPath]) -> Result<(), PreflightError> {
    let place = |lent: &LentPath| fs::canonicalize(lent.path.as_str()).unwrap_or_else(|_| lent.path.as_str().into());
    let places: Vec<(PathBuf, &MountPath)> = lent.iter().map(|lent| (place(lent), &lent.path)).collect();
    for (index, (inner, path)) in places.iter().enumerate() {
        let others = places.iter().enumerate().filter(|(other, _)| *other != index);
        if let Some((_, (_, outer))) = others.into_iter().find(|(_, (outer, _))| inner.starts_with(outer)) {
            return Err(PreflightError::LentTwice { inner: (*path).clone(), outer: (*outer).clone() });
        }
    }
    Ok(())
}

fn check_kernel(release: &str) -> Result<(), PreflightError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_OLDEST => Ok(()),
        _ => Err(PreflightError::Kernel { found: release.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_directory_is_lent_within_another() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("shared/models")).unwrap();
        fs::create_dir(home.path().join("other")).unwrap();
        std::os::unix::fs::symlink("shared", home.path().join("link")).unwrap();
        let lent = |names: &[&str]| {
            let path = |name: &&str| home.path().join(name).to_str().unwrap().parse().unwrap();
            check_lent(&names.iter().map(|name| LentPath { path: path(name), read_only: true }).collect::<Vec<_>>())
        };
        assert!(lent(&["shared", "other", "missing"]).is_ok());
        for names in
            [["shared", "shared/models"], ["shared/models", "link"], ["other", "other"], ["missing", "missing/a"]]
        {
            assert!(matches!(lent(&names), Err(PreflightError::LentTwice { .. })), "{names:?}");
        }
    }

    #[test]
    fn old_kernels_are_refused_by_number_not_by_text() {
        for release in ["5.15.0-1-arm64", "5.15", "6.1.0-30-cloud-amd64", "10.2"] {
            assert!(check_kernel(release).is_ok(), "{release}");
        }
        for release in ["5.10.120-tegra", "4.9.337", "", "linux"] {
            assert!(check_kernel(release).is_err(), "{release}");
        }
    }
}
