//! Class 9: images that are built to do more than to be unpacked, and a node that exchanges their blobs.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::{
    daemon::IMAGE_ID_BASE,
    layers::{Archive, Blob, blob_path, give_to_node, store, tree},
};
use dormouse_sandbox::messages::Compression;
use tar::EntryType;

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: 9,
        name: "a layer whose names climb out of it",
        defence: "NamesStay,ParentsInRoot,UnpackRoot,UnpackIdsMapped",
        run: |ground| plant(ground, |outside| Archive::new().file(&format!("{UP}{}/planted", outside.display()), b"x")),
    },
    Attack {
        class: 9,
        name: "a layer that writes through a link of its own",
        defence: "ParentsInRoot,UnpackRoot,UnpackIdsMapped",
        run: |ground| {
            plant(ground, |outside| Archive::new().symlink("out", outside.to_str().unwrap()).file("out/planted", b"x"))
        },
    },
    Attack {
        class: 9,
        name: "a layer that gives a file of the host another name",
        defence: "NamesStay,ParentsInRoot,UnpackRoot,UnpackIdsMapped",
        run: link_out,
    },
    Attack {
        class: 9,
        name: "a layer with the machine's memory as a device",
        defence: "DevicesLeftOut,UnpackIdsMapped,DevicePolicy,SystemCallFilter",
        run: device,
    },
    Attack { class: 9, name: "a layer whose ids wrap around", defence: "IdsInRange", run: wrap_around },
    Attack {
        class: 9,
        name: "a layer with an overlay's own attributes",
        defence: "AttributesChosen,UnpackIdsMapped",
        run: forge_attribute,
    },
    Attack { class: 9, name: "a layer that unpacks to more than it says", defence: "UnpackBytesLimit", run: bomb },
    Attack {
        class: 9,
        name: "exchange a blob for another that was not asked for",
        defence: "DigestsChecked",
        run: exchange,
    },
    Attack { class: 9, name: "exchange a blob for a link", defence: "FilesAreTheStores", run: link_blob },
];

/// To the root, from wherever layers are.
const UP: &str = "../../../../../../../../../..";
/// What a bomb is allowed, and what it is, in bytes.
const ALLOWED: u64 = 1 << 20;
const BOMB: usize = 32 << 20;

/// A directory beside the daemon's data that is root's alone. Names of one file have to be in one file system.
fn outside(stage: &Stage) -> PathBuf {
    let outside = stage.daemon.settings.data.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
    outside
}

/// Unpacks what `make` makes, and looks at what came of it.
fn unpack(
    ground: &Ground,
    make: impl FnOnce(&Path) -> Archive,
    got_through: impl FnOnce(&Path, &Path) -> Option<String>,
) -> Outcome {
    let mut stage = Stage::enter(ground);
    let data = stage.daemon.settings.data.clone();
    let outside = outside(&stage);
    let layer = store(&data, &make(&outside).finish(), Compression::Gzip);
    let told = stage.node.unpack(&layer);
    let seen = got_through(&tree(&data, &layer.diff_id), &outside);
    stage.leave();
    match (seen, told) {
        (Some(seen), _) => Outcome::GotThrough(seen),
        (None, Err(reason)) => Outcome::Stopped(format!("refused: {reason}")),
        (None, Ok(_)) => Outcome::Stopped("unpacked within its tree".to_owned()),
    }
}

fn plant(ground: &Ground, make: impl FnOnce(&Path) -> Archive) -> Outcome {
    unpack(ground, make, |_, outside| {
        outside.join("planted").exists().then(|| "a file in a directory of the host".to_owned())
    })
}

fn link_out(ground: &Ground) -> Outcome {
    let make = |outside: &Path| {
        fs::write(outside.join("secret"), "a secret of the host").unwrap();
        let target = format!("{UP}{}/secret", outside.display());
        Archive::new().pax(&[("linkpath", target.as_bytes())]).hard_link("mine", "mine")
    };
    unpack(ground, make, |tree, _| {
        fs::read_to_string(tree.join("mine")).ok().map(|text| format!("the layer has `{text}`"))
    })
}

fn device(ground: &Ground) -> Outcome {
    let make = |_: &Path| {
        Archive::new().entry(EntryType::Char, "mem", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(1).unwrap();
        })
    };
    unpack(ground, make, |tree, _| {
        let found = fs::symlink_metadata(tree.join("mem")).ok()?;
        found.file_type().is_char_device().then(|| "the layer has the device".to_owned())
    })
}

fn wrap_around(ground: &Ground) -> Outcome {
    let make = |_: &Path| {
        Archive::new().entry(EntryType::Regular, "su", b"", |header| {
            header.set_uid(65_536);
            header.set_mode(0o4755);
        })
    };
    unpack(ground, make, |tree, _| {
        let owner = fs::metadata(tree.join("su")).ok()?.uid();
        Some(format!("a file of user 65536 belongs to user {} of the image", owner.wrapping_sub(IMAGE_ID_BASE)))
    })
}

fn forge_attribute(ground: &Ground) -> Outcome {
    const NAME: &str = "trusted.overlay.redirect";
    let make = |_: &Path| Archive::new().pax(&[(&format!("SCHILY.xattr.{NAME}"), b"/etc")]).directory("forged");
    unpack(ground, make, |tree, _| {
        let length = rustix::fs::lgetxattr(tree.join("forged"), NAME, &mut [0; 16]).ok()?;
        Some(format!("{NAME} of {length} bytes"))
    })
}

fn bomb(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let data = stage.daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("bomb", &vec![0; BOMB]).finish(), Compression::Gzip);
    stage.node.ask_to_unpack_within(&layer, ALLOWED);
    let told = stage.node.unpacked(&layer.diff_id);
    stage.leave();
    match told {
        Ok(unpacked) => Outcome::GotThrough(format!("{} bytes where {ALLOWED} may be", unpacked.bytes)),
        Err(reason) => Outcome::Stopped(format!("refused: {reason}")),
    }
}

/// What was verified is not what is unpacked.
fn exchange(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let data = stage.daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("innocent", b"").finish(), Compression::None);
    let other = store(&data, &Archive::new().file("planted", b"").finish(), Compression::None);
    fs::rename(blob_path(&data, &other.blob), blob_path(&data, &layer.blob)).unwrap();
    let told = stage.node.unpack(&layer);
    let is_planted = tree(&data, &layer.diff_id).join("planted").exists();
    stage.leave();
    match (is_planted, told) {
        (true, _) => Outcome::GotThrough("the layer of this digest has other contents".to_owned()),
        (false, told) => Outcome::Stopped(format!("refused: {}", told.unwrap_err())),
    }
}

fn link_blob(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let data = stage.daemon.settings.data.clone();
    let layer: Blob = store(&data, &Archive::new().file("secret", b"").finish(), Compression::None);
    let (blob, secret) = (blob_path(&data, &layer.blob), outside(&stage).join("backup.tar"));
    fs::rename(&blob, &secret).unwrap();
    symlink(&secret, &blob).unwrap();
    give_to_node(&secret);
    let told = stage.node.unpack(&layer);
    stage.leave();
    match told {
        Ok(_) => Outcome::GotThrough("an archive of the host's is unpacked".to_owned()),
        Err(reason) => Outcome::Stopped(format!("refused: {reason}")),
    }
}
