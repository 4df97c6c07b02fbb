//! Layers of images, unpacked by the real spawner's real children.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    panic::AssertUnwindSafe,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use dormouse_driver::{
    daemon::{Daemon, IMAGE_ID_BASE, Settings},
    layers::{Archive, LAYER_BYTES_MAX, blob_path, digest, layer_path, listed, store, tree},
};
use dormouse_sandbox::messages::{Compression, Event, Request};
use dormouse_spec::Digest;
use rustix::process::Signal;
use tar::EntryType;

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(value[..length].to_vec())
}

/// Whether files there can have attributes of their users.
fn takes_attributes(directory: &Path) -> bool {
    let file = tempfile::NamedTempFile::new_in(directory).unwrap();
    rustix::fs::setxattr(file.path(), "user.a", b"b", rustix::fs::XattrFlags::empty()).is_ok()
}

fn is_opaque(path: &Path) -> bool {
    attribute(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
}

/// What overlay file systems take for it.
fn is_whiteout(path: &Path) -> bool {
    let found = fs::symlink_metadata(path).unwrap();
    found.file_type().is_char_device() && found.rdev() == 0
}

/// Unpacks one layer in a daemon of its own and looks at its tree.
fn with_tree(archive: Archive, look: impl FnOnce(&Path)) {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &archive.finish(), Compression::Gzip);
    node.unpack(&layer).unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(listed(&data), [layer.diff_id.directory_name()]);
    look(&tree(&data, &layer.diff_id));
    daemon.end(node);
}

pub(crate) fn a_tree_is_what_its_archive_says() {
    // A v2 capability set: effective, CAP_NET_BIND_SERVICE permitted.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = Archive::new()
        .entry(EntryType::Directory, "./", b"", |header| header.set_mode(0o711))
        .entry(EntryType::Directory, "etc/", b"", |header| {
            header.set_mode(0o2750);
            header.set_gid(42);
        })
        .entry(EntryType::Regular, "etc/shadow", b"root:*:", |header| {
            header.set_mode(0o640);
            header.set_uid(65_535);
            header.set_gid(42);
            header.set_mtime(1_234_567_890);
        })
        .entry(EntryType::Regular, "/usr/bin/sudo", &vec![7; 300_000], |header| header.set_mode(0o4755))
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("mtime", b"1234567890.5")])
        .file("usr/bin/ping", b"ping")
        .hard_link("usr/bin/ping6", "/usr/bin/ping")
        .entry(EntryType::Symlink, "usr/bin/sh", b"", |header| {
            header.set_link_name_literal("/../../bin/bash").unwrap();
            header.set_uid(7);
        })
        .entry(EntryType::Fifo, "run/pipe", b"", |header| header.set_mode(0o622))
        .file("var/.wh.cache", b"")
        .file("opt/.wh..wh..opq", b"")
        .file("opt/new", b"");
    with_tree(archive, |tree| {
        let of = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap();
        let owner = |path: &str| (of(path).uid() - IMAGE_ID_BASE, of(path).gid() - IMAGE_ID_BASE);
        assert_eq!((of("").mode() & 0o7777, owner("")), (0o711, (0, 0)));
        assert_eq!((of("etc").mode() & 0o7777, owner("etc"), of("etc").mtime()), (0o2750, (0, 42), 1_000_000_000));
        assert_eq!((of("etc/shadow").mode() & 0o7777, owner("etc/shadow")), (0o640, (65_535, 42)));
        assert_eq!(of("etc/shadow").mtime(), 1_234_567_890);
        assert_eq!(fs::read(tree.join("etc/shadow")).unwrap(), b"root:*:");
        assert_eq!((of("usr/bin/sudo").mode() & 0o7777, of("usr/bin/sudo").len()), (0o4755, 300_000));
        assert_eq!((of("usr").mode() & 0o7777, owner("usr/bin")), (0o755, (0, 0)), "what no entry made");
        assert_eq!((of("usr/bin/ping").mtime(), of("usr/bin/ping").mtime_nsec()), (1_234_567_890, 500_000_000));
        assert_eq!(of("usr/bin/ping").ino(), of("usr/bin/ping6").ino());
        // Version 3, of whose namespace the images' root is root.
        let kept = attribute(&tree.join("usr/bin/ping"), "security.capability").unwrap();
        assert_eq!((kept[3], &kept[4..8], &kept[20..]), (3, &capability[4..8], &IMAGE_ID_BASE.to_le_bytes()[..]));
        assert_eq!(fs::read_link(tree.join("usr/bin/sh")).unwrap(), Path::new("/../../bin/bash"));
        assert_eq!(owner("usr/bin/sh"), (7, 0));
        assert!(of("run/pipe").file_type().is_fifo() && of("run/pipe").mode() & 0o7777 == 0o622);
        assert!(is_whiteout(&tree.join("var/cache")));
        assert!(is_opaque(&tree.join("opt")) && tree.join("opt/new").exists());
        assert!(!is_opaque(&tree.join("var")) && !tree.join("opt/.wh..wh..opq").exists());
        let sealed = fs::metadata(tree.parent().unwrap()).unwrap();
        assert_eq!((sealed.mode() & 0o7777, sealed.uid()), (0o700, 0));
        let layer = fs::metadata(tree.parent().unwrap().parent().unwrap().join("layer.json")).unwrap();
        assert_eq!((layer.mode() & 0o7777, layer.uid()), (0o644, 0));
    });
}

/// More in a row than the process that reads may have descriptors open.
pub(crate) fn opaque_directories_have_no_end() {
    let archive =
        (0..2_000).fold(Archive::new(), |archive, number| archive.file(&format!("{number}/.wh..wh..opq"), b""));
    with_tree(archive, |tree| {
        assert!((0..2_000).all(|number| is_opaque(&tree.join(number.to_string()))));
    });
}

/// The kernel gives up to look up what leads up as soon as anything is renamed anywhere.
pub(crate) fn links_up_are_found_while_others_rename() {
    let place = tempfile::tempdir().unwrap();
    let mut archive = Archive::new().directory("real").directory("other").symlink("other/up", "../other/../real");
    for number in 0..2_000 {
        archive = archive
            .file(&format!("other/up/{number}"), b"")
            .hard_link(&format!("other/{number}"), &format!("other/up/{number}"));
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (place.path().join("one"), place.path().join("other"));
            fs::write(&one, "").unwrap();
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
            }
        });
        let unpacked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            with_tree(archive, |tree| assert_eq!(fs::read_dir(tree.join("real")).unwrap().count(), 2_000));
        }));
        is_over.store(true, Ordering::Relaxed);
        unpacked.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
}

pub(crate) fn what_is_left_out_is_told() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let archive = Archive::new()
        .entry(EntryType::Char, "dev/null", b"", |header| {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        })
        .entry(EntryType::Block, "dev/sda", b"", |header| header.set_device_major(8).unwrap())
        .file(".wh..wh.plnk/12.34", b"aufs")
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"label"),
        ])
        .file("labelled", b"")
        // The kernel takes none that is so long.
        .pax(&[("SCHILY.xattr.user.long", &[b'a'; 70_000]), ("SCHILY.xattr.user.short", b"b")])
        .file("long", b"");
    let contents = archive.finish();
    let layer = store(&data, &contents, Compression::None);
    let told = node.unpack(&layer).unwrap();
    assert_eq!((told.bytes, told.entries), (contents.len() as u64, 5));
    // A file system in memory of an older kernel takes none of anybody's.
    let takes_attributes = takes_attributes(&data);
    let attributes = if takes_attributes { 4 } else { 5 };
    assert_eq!((told.left_out.devices, told.left_out.notes, told.left_out.attributes), (2, 1, attributes));
    let named = told.left_out.named.join(", ");
    for what in ["dev/null (device 1:3)", "dev/sda (device 8:0)", ".wh..wh.plnk/12.34", "labelled"] {
        assert!(named.contains(what), "{named}");
    }
    let tree = tree(&data, &layer.diff_id);
    assert!(!tree.join("dev").exists() && !tree.join(".wh..wh.plnk").exists());
    for name in ["trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"] {
        assert_eq!(attribute(&tree.join("labelled"), name), None, "{name}");
    }
    assert_eq!(attribute(&tree.join("long"), "user.long"), None);
    assert_eq!(attribute(&tree.join("long"), "user.short"), takes_attributes.then(|| b"b".to_vec()));
    let json = fs::read_to_string(layer_path(&data, &layer.diff_id).join("layer.json")).unwrap();
    assert!(json.contains(&layer.diff_id.to_string()) && json.contains("dev/sda"), "{json}");
    daemon.end(node);
}

pub(crate) fn later_entries_take_the_place_of_earlier_ones() {
    let archive = Archive::new()
        .file("file", b"first")
        .entry(EntryType::Regular, "file", b"second", |header| header.set_mode(0o600))
        .directory("was-directory")
        .file("was-directory/deep/er/file", b"")
        .file("was-directory", b"now a file")
        .file("was-file", b"")
        .directory("was-file")
        .file("was-file/inside", b"")
        .directory("merged")
        .file("merged/stays", b"")
        .entry(EntryType::Directory, "merged", b"", |header| header.set_mode(0o700))
        .symlink("was-link", "/elsewhere")
        .file("was-link", b"a file of its own")
        .file(".wh.hidden", b"")
        .file("hidden/inside", b"")
        .directory("both")
        .file("both/mine", b"")
        .file(".wh.both", b"")
        .file("mine", b"")
        .file(".wh.mine", b"");
    with_tree(archive, |tree| {
        assert_eq!(fs::read(tree.join("file")).unwrap(), b"second");
        assert_eq!(fs::metadata(tree.join("file")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read(tree.join("was-directory")).unwrap(), b"now a file");
        assert!(tree.join("was-file/inside").is_file() && is_opaque(&tree.join("was-file")));
        assert!(tree.join("merged/stays").is_file() && !is_opaque(&tree.join("merged")));
        assert_eq!(fs::metadata(tree.join("merged")).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read(tree.join("was-link")).unwrap(), b"a file of its own");
        assert!(tree.join("hidden/inside").is_file() && is_opaque(&tree.join("hidden")));
        assert!(tree.join("both/mine").is_file() && is_opaque(&tree.join("both")));
        assert!(tree.join("mine").is_file());
    });
}

pub(crate) fn links_lead_to_places_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().to_str().unwrap();
    let archive = Archive::new()
        .symlink("up", "../../../../../../../..")
        .file("up/from-up", b"")
        .directory("tmp")
        .directory(&absolute[1..])
        .symlink("out", absolute)
        .file("out/from-out", b"")
        .directory("real")
        .symlink("alias", "real")
        .file("alias/inside", b"through a link")
        .hard_link("alias/again", "alias/inside")
        .hard_link("again", "again-first")
        .file("never", b"");
    // A link to what is not there is refused; the rest is looked at without it.
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let refused = store(&data, &archive.finish(), Compression::None);
    let reason = node.unpack(&refused).unwrap_err();
    assert!(reason.contains("`again`") && reason.contains("again-first"), "{reason}");
    daemon.end(node);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);

    let archive = Archive::new()
        .symlink("up", "../../../../../../../..")
        .file("up/from-up", b"")
        .directory(&absolute[1..])
        .symlink("out", absolute)
        .file("out/from-out", b"")
        .directory("real")
        .symlink("alias", "real")
        .file("alias/inside", b"through a link")
        .hard_link("alias/again", "alias/inside")
        .hard_link("alias/again", "real/again")
        .hard_link("another-alias", "alias");
    with_tree(archive, |tree| {
        assert!(tree.join("from-up").is_file());
        assert!(tree.join(&absolute[1..]).join("from-out").is_file());
        let inside = fs::metadata(tree.join("real/inside")).unwrap();
        assert_eq!(fs::metadata(tree.join("real/again")).unwrap().ino(), inside.ino());
        assert_eq!(fs::read_link(tree.join("another-alias")).unwrap(), Path::new("real"));
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

pub(crate) fn what_is_refused_leaves_nothing() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let good = || Archive::new().file("first", b"made before");
    let cut = |archive: Archive, by: usize| {
        let mut bytes = archive.finish();
        bytes.truncate(bytes.len() - by);
        bytes
    };
    let refused: [(&str, Vec<u8>); 13] = [
        ("`../out` is refused: its name climbs", good().file("../out", b"").finish()),
        ("`a/../../out` is refused", good().file("a/../../out", b"").finish()),
        ("user 65536, beyond", good().entry(EntryType::Regular, "big", b"", |header| header.set_uid(65_536)).finish()),
        ("group 70000, beyond", good().pax(&[("gid", b"70000")]).file("big", b"").finish()),
        ("0:0", good().entry(EntryType::Char, "hidden", b"", |_| {}).finish()),
        ("`out` failed: it is another name of `etc/passwd`", good().hard_link("out", "/etc/passwd").finish()),
        ("climbs", good().hard_link("out", "../../etc/passwd").finish()),
        ("hides something", good().file("a/.wh...", b"").finish()),
        ("`first`, which it is in, is no directory", good().file("first/inside", b"").finish()),
        ("holes", good().entry(EntryType::GNUSparse, "sparse", b"", |_| {}).finish()),
        ("cut off after `last`", cut(good().file("last", &[1; 2_000]), 1_024 + 512)),
        ("damaged after `first`", [&cut(good(), 1_024)[..], &[1; 512]].concat()),
        ("type `D`", good().entry(EntryType::new(b'D'), "dump", b"", |_| {}).finish()),
    ];
    for (why, contents) in refused {
        let layer = store(&data, &contents, Compression::Gzip);
        let reason = node.unpack(&layer).unwrap_err();
        assert!(reason.contains(why), "`{why}`: {reason}");
        assert_eq!(listed(&data), [] as [String; 0], "{why}");
    }
    daemon.end(node);
}

pub(crate) fn every_compression_makes_the_same_tree() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let mut noise = 1_u32;
    let file: Vec<u8> = (0..3_000_000)
        .map(|at| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 4_096 < 2_048 { (noise >> 24) as u8 } else { b'a' }
        })
        .collect();
    // What follows the end is a part of the layer's bytes and of nothing else.
    let second = Archive::new().file("second", b"").finish();
    let contents = [Archive::new().file("large", &file).finish(), second].concat();
    for compression in COMPRESSIONS {
        let layer = store(&data, &contents, compression);
        let told = node.unpack(&layer).unwrap_or_else(|reason| panic!("{compression:?}: {reason}"));
        assert_eq!((told.bytes, told.entries), (contents.len() as u64, 1));
        let tree = tree(&data, &layer.diff_id);
        assert!(fs::read(tree.join("large")).unwrap() == file && !tree.join("second").exists());
        node.remove_layer(&layer.diff_id);
    }
    // Blobs of several members, as parallel compressors and archivers make them.
    for compression in [Compression::Gzip, Compression::Zstd] {
        let (one, other) = contents.split_at(1_000_001);
        let parts = [one, other].map(|part| fs::read(blob_path(&data, &store(&data, part, compression).blob)).unwrap());
        let skipped: &[u8] =
            if compression == Compression::Zstd { &[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3] } else { &[] };
        let bytes = [&parts[0], skipped, &parts[1], skipped].concat();
        let mut layer = store(&data, &bytes, Compression::None);
        (layer.diff_id, layer.compression) = (digest(&contents), compression);
        node.unpack(&layer).unwrap_or_else(|reason| panic!("{compression:?}: {reason}"));
        node.remove_layer(&layer.diff_id);
    }
    daemon.end(node);
}

pub(crate) fn bytes_are_those_that_were_asked_for() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let contents = Archive::new().file("file", &vec![0; 1 << 20]).finish();
    for compression in COMPRESSIONS {
        let layer = store(&data, &contents, compression);
        let mut other = layer;
        other.diff_id = Digest::from_sha256([1; 32]);
        let reason = node.unpack(&other).unwrap_err();
        assert!(reason.contains(&layer.diff_id.to_string()) && reason.contains("the image is damaged"), "{reason}");

        // The same contents under the name of another blob.
        let mut exchanged = layer;
        exchanged.blob = Digest::from_sha256([2; 32]);
        fs::rename(blob_path(&data, &layer.blob), blob_path(&data, &exchanged.blob)).unwrap();
        let reason = node.unpack(&exchanged).unwrap_err();
        assert!(reason.contains("damaged or exchanged"), "{reason}");
        fs::rename(blob_path(&data, &exchanged.blob), blob_path(&data, &layer.blob)).unwrap();

        node.ask_to_unpack_within(&layer, contents.len() as u64 - 1);
        let reason = node.unpacked(&layer.diff_id).unwrap_err();
        assert!(reason.contains(&format!("more than {} bytes", contents.len() - 1)), "{reason}");
        assert_eq!(listed(&data), [] as [String; 0]);
        node.ask_to_unpack_within(&layer, contents.len() as u64);
        node.unpacked(&layer.diff_id).unwrap();
        node.remove_layer(&layer.diff_id);
    }
    for (compression, blob) in [(Compression::Gzip, &b"no gzip"[..]), (Compression::Zstd, b"no zstd at all")] {
        let mut layer = store(&data, blob, Compression::None);
        layer.compression = compression;
        assert!(node.unpack(&layer).unwrap_err().contains("reading the archive failed"));
    }
    node.ask_to_unpack_within(&store(&data, &contents, Compression::None), LAYER_BYTES_MAX + 1);
    let reason = node.unpacked(&digest(&contents)).unwrap_err();
    assert!(reason.contains("a largest layer") && reason.contains("ceiling"), "{reason}");
    // Longer than what it may unpack to can be packed: nothing of it is read.
    let layer = store(&data, &contents, Compression::None);
    File::options().write(true).open(blob_path(&data, &layer.blob)).unwrap().set_len(1 << 40).unwrap();
    let reason = node.unpack(&layer).unwrap_err();
    assert!(reason.contains("the blob has 1099511627776 bytes"), "{reason}");
    // A frame that refers back over 128 MiB.
    let mut layer = store(&data, &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x88, 1, 0, 0], Compression::None);
    layer.compression = Compression::Zstd;
    let reason = node.unpack(&layer).unwrap_err();
    assert!(reason.contains("window of 128 MiB") && reason.contains("--long"), "{reason}");
    daemon.end(node);
}

pub(crate) fn a_blob_is_the_stores_own_file() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("file", b"").finish(), Compression::None);
    let (path, secret) = (blob_path(&data, &layer.blob), data.join("secret"));
    fs::rename(&path, &secret).unwrap();
    assert!(node.unpack(&layer).unwrap_err().contains("No such file"));
    symlink(&secret, &path).unwrap();
    assert!(node.unpack(&layer).unwrap_err().contains("the blob cannot be read"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::chown(&secret, Some(0), Some(0)).unwrap();
    fs::hard_link(&secret, &path).unwrap();
    assert!(node.unpack(&layer).unwrap_err().contains("belongs to user 0"));
    daemon.end(node);
}

/// The node may exchange every directory of its store, while the daemon runs and between two of them.
pub(crate) fn an_exchanged_store_of_blobs_leads_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::launch(Settings { ephemeral: false, ..Settings::under(home.path()) });
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("file", b"").finish(), Compression::None);
    let (blobs, elsewhere) = (data.join("images/blobs"), home.path().join("elsewhere"));
    // All of it is there to be found, and belongs to one user.
    fs::rename(&blobs, &elsewhere).unwrap();
    for path in [elsewhere.clone(), elsewhere.join("sha256"), elsewhere.join("sha256").join(layer.blob.hex())] {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, &blobs).unwrap();
    let reason = node.unpack(&layer).unwrap_err();
    assert!(reason.contains("the blob cannot be read"), "{reason}");
    daemon.end(node);

    let settings = Settings { ephemeral: false, ..Settings::under(home.path()) };
    let mut next = Daemon::launch(settings);
    let node = next.node();
    for path in [elsewhere.clone(), elsewhere.join("sha256")] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (0, 0), "{}", path.display());
    }
    assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o7777, 0o700);
    next.end(node);
}

pub(crate) fn what_is_asked_again_is_told_at_once() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layer = store(&data, &Archive::new().file("file", b"").finish(), Compression::Gzip);
    node.ask_to_unpack(&layer);
    node.ask_to_unpack(&layer);
    let first = node.unpacked(&layer.diff_id).unwrap();
    let made = fs::metadata(layer_path(&data, &layer.diff_id)).unwrap().ino();
    assert_eq!(node.unpacked(&layer.diff_id).unwrap(), first);
    // By another node, of another blob of the same contents, whose bytes nobody needs.
    node.signal(Signal::KILL);
    node.wait_until_closed();
    let mut node = daemon.node();
    let mut other = layer;
    other.blob = Digest::from_sha256([9; 32]);
    assert_eq!(node.unpack(&other).unwrap(), first);
    assert_eq!(fs::metadata(layer_path(&data, &layer.diff_id)).unwrap().ino(), made);
    daemon.end(node);
}

pub(crate) fn some_at_a_time_and_all_in_the_end() {
    let mut daemon = Daemon::start();
    let mut node = daemon.node();
    let data = daemon.settings.data.clone();
    let layers: Vec<_> = (0..6_u8)
        .map(|number| store(&data, &Archive::new().file("file", &vec![number; 2 << 20]).finish(), Compression::Gzip))
        .collect();
    layers.iter().for_each(|layer| node.ask_to_unpack(layer));
    node.ask(&Request::RemoveLayer { diff_id: layers[5].diff_id });
    for layer in &layers {
        node.unpacked(&layer.diff_id).unwrap();
    }
    let removed = layers[5].diff_id;
    assert_eq!(node.of_layer(&removed), Event::LayerRemoved { diff_id: removed });
    let mut expected: Vec<String> = layers[..5].iter().map(|layer| layer.diff_id.directory_name()).collect();
    expected.sort();
    assert_eq!(listed(&data), expected);
    let unmade = Digest::from_sha256([3; 32]);
    node.remove_layer(&unmade);
    // More than may wait.
    let refused = (0..1_100).filter(|_| node.try_ask(&Request::RemoveLayer { diff_id: unmade }).is_ok()).count();
    assert!(refused > 0);
    daemon.end(node);
}
