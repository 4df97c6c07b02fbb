//! Class 3: the store's owner exchanges a directory for a link while it is being mounted, or while
//! the model in it is opened for a blank.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
};

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::script::model;
use rustix::fs::{CWD, RenameFlags};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: 3,
        name: "exchange a model for a link while it is mounted",
        defence: "MountsByDescriptor",
        run: |ground| exchange(&Ground { claimed: false, ..ground.clone() }, "read /mnt/models/model.onnx"),
    },
    Attack {
        class: 3,
        name: "exchange a model for a link while a blank is given it",
        defence: "OpenedBeneath",
        run: |ground| exchange(&Ground { claimed: true, ..ground.clone() }, "model"),
    },
];

/// Each creation meets the link with a chance of about one half.
const CREATIONS: u32 = 16;

/// A claim that met the link gave way to a creation, whose model is no descriptor.
fn is_absent(text: &str) -> bool {
    text == std::io::Error::from(std::io::ErrorKind::NotFound).to_string()
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
            Ok(replica) => Some(stage.ask(&replica, command)).filter(|text| text != "weights" && !is_absent(text)),
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
