//! Class 3: the stores' owner puts something else where a model is to be: a link, while it is mounted or opened
//! for a blank; a file of somebody else's, where root opens it.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use dormouse_attacks::{Attack, Ground, Outcome, Replicas};
use dormouse_driver::script::model;
use dormouse_spec::Digest;
use rustix::fs::{CWD, RenameFlags};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: 3,
        name: "exchange a model for a link while it is mounted",
        defence: "MountsByDescriptor",
        run: |ground| {
            exchange(&Ground { replicas: Replicas::Created, ..ground.clone() }, "read /mnt/models/model.onnx")
        },
    },
    Attack {
        class: 3,
        name: "exchange a model for a link while a blank is given it",
        defence: "FilesAreTheStores",
        run: |ground| exchange(&Ground { replicas: Replicas::Claimed, ..ground.clone() }, "model"),
    },
    Attack {
        class: 3,
        name: "give a file of the host another name, as a prepared model",
        defence: "FilesAreTheStores",
        run: rename,
    },
];

/// Each creation meets the link with a chance of about one half; less where other work takes the processors.
const CREATIONS: u32 = 32;

/// The stored model, or that none was handed over: a claim that met the link gave way to a creation, whose
/// model is no descriptor.
fn is_innocent(text: &str) -> bool {
    ["weights", "nothing"].contains(&text)
}

/// The node owns the store, and a node that was taken over would like to see what it may not reach.
fn exchange(ground: &Ground, command: &str) -> Outcome {
    let mut stage = Stage::enter(ground);
    let models = stage.daemon.settings.data.join("models");
    let secret = tempfile::tempdir().unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let behind = secret.path().join("behind");
    fs::create_dir(&behind).unwrap();
    fs::write(behind.join("model.onnx"), "a secret of the host").unwrap();
    let (stored, link) = (models.join(model().directory_name()), models.join("link"));
    symlink(&behind, &link).unwrap();

    let is_over = AtomicBool::new(false);
    let mut refused = 0;
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &stored, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let seen = (0..CREATIONS).find_map(|_| match stage.try_replica() {
            Ok(replica) => Some(stage.ask(&replica, command)).filter(|text| !is_innocent(text)),
            Err(_) => {
                refused += 1;
                None
            }
        });
        is_over.store(true, Ordering::Relaxed);
        seen
    });
    stage.leave();
    match seen {
        Some(seen) => Outcome::GotThrough(format!("a container read `{seen}`")),
        None => Outcome::Stopped(format!("{refused} of {CREATIONS} creations refused, none followed the link")),
    }
}

/// Root opens prepared models, so what the node may not read could be read as one.
fn rename(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let store = stage.daemon.settings.data.join("prepared");
    // Names of one file have to be in one file system.
    let secret = stage.daemon.settings.data.join("secret");
    fs::write(&secret, "a secret of the host").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    type Name = fn(&Path, &Path) -> io::Result<()>;
    let names: [(u8, Name); 2] =
        [(1, |secret, model| symlink(secret, model)), (2, |secret, model| fs::hard_link(secret, model))];
    let seen: Vec<String> = names
        .into_iter()
        .map(|(byte, give)| {
            let key = Digest::from_sha256([byte; 32]);
            let directory = store.join(key.directory_name());
            fs::create_dir(&directory).unwrap();
            give(&secret, &directory.join("model.ort")).unwrap();
            let replica = stage.try_replica_from(Some(key)).unwrap_or_else(|cause| panic!("{cause}"));
            stage.ask(&replica, "model")
        })
        .collect();
    stage.leave();
    match seen.into_iter().find(|seen| !is_innocent(seen)) {
        Some(seen) => Outcome::GotThrough(format!("a container read `{seen}`")),
        None => Outcome::Stopped("neither a link nor a second name is handed on".to_owned()),
    }
}
