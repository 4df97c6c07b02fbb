#![allow(clippy::unwrap_used)]
use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::mpsc,
};

use tempfile::TempDir;

use super::*;
use crate::{MODEL_FILE, MODEL_FILES_MAX, ModelFile};

struct Fixture {
    data: TempDir,
    sources: TempDir,
    store: ModelStore,
}

impl Fixture {
    fn new() -> Self {
        Self::with(StoreLimits { free_bytes_min: Bytes::new(0), ..StoreLimits::default() })
    }

    fn with(limits: StoreLimits) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = ModelStore::open(data.path(), limits).unwrap();
        Self { data, sources: tempfile::tempdir().unwrap(), store }
    }

    /// A file to hand in; `path` is what it is called in the model.
    fn file(&self, path: &str, content: &[u8]) -> ModelFile {
        let mut source = tempfile::tempfile_in(&self.sources).unwrap();
        std::io::Write::write_all(&mut source, content).unwrap();
        ModelFile { path: path.parse().unwrap(), file: source.into() }
    }

    fn model(&self) -> Vec<ModelFile> {
        vec![self.file(MODEL_FILE, b"graph"), self.file("weights/a/b.bin", &[7; 3_000_000]), self.file("empty", b"")]
    }

    async fn add(&self, files: Vec<ModelFile>) -> Result<StoredModel, StoreError> {
        self.store.add(files, |_, _| {}).await
    }

    /// What is in the store's directory, dotted names too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data.path().join(DIRECTORY)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[tokio::test]
async fn a_model_is_stored_by_its_content_and_cannot_be_written_to() {
    let fixture = Fixture::new();
    let stored = fixture.add(fixture.model()).await.unwrap();
    assert_eq!((stored.files, stored.bytes), (3, Bytes::new(3_000_005)));
    assert_eq!(fixture.names(), [stored.digest.directory_name()]);

    let path = fixture.store.path_of(&stored.digest);
    assert_eq!(fs::read(path.join(MODEL_FILE)).unwrap(), b"graph");
    assert_eq!(fs::read(path.join("weights/a/b.bin")).unwrap(), [7; 3_000_000]);
    assert_eq!(fs::read(path.join("empty")).unwrap(), b"");
    for (name, mode) in [
        ("", 0o555),
        ("weights", 0o555),
        ("weights/a", 0o555),
        (MODEL_FILE, 0o444),
        ("weights/a/b.bin", 0o444),
        ("empty", 0o444),
    ] {
        assert_eq!(fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[tokio::test]
async fn the_same_content_is_one_model() {
    let fixture = Fixture::new();
    let first = fixture.add(fixture.model()).await.unwrap();
    let inode = fs::metadata(fixture.store.path_of(&first.digest)).unwrap().ino();
    let mut reordered = fixture.model();
    reordered.reverse();
    let again = fixture.add(reordered).await.unwrap();
    assert_eq!(again.digest, first.digest);
    assert_eq!(fs::metadata(fixture.store.path_of(&first.digest)).unwrap().ino(), inode);

    let other = fixture.add(vec![fixture.file(MODEL_FILE, b"graph")]).await.unwrap();
    assert_ne!(other.digest, first.digest);
    let mut listed = fixture.store.list().unwrap();
    let mut expected = vec![first.digest, other.digest];
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn concurrent_adds_of_one_model_agree() {
    let fixture = Fixture::new();
    let add = || fixture.add(fixture.model());
    let (one, two, three) = tokio::join!(add(), add(), add());
    let digest = one.unwrap().digest;
    assert_eq!((two.unwrap().digest, three.unwrap().digest), (digest, digest));
    assert_eq!(fixture.names(), [digest.directory_name()]);
}

#[tokio::test]
async fn progress_begins_at_nothing_and_ends_at_all() {
    let fixture = Fixture::new();
    let (sender, told) = mpsc::channel();
    fixture.store.add(fixture.model(), move |done, total| sender.send((done, total)).unwrap()).await.unwrap();
    let told: Vec<_> = told.iter().collect();
    let total = Bytes::new(3_000_005);
    assert_eq!((told.first(), told.last()), (Some(&(Bytes::new(0), total)), Some(&(total, total))));
    assert!(told.is_sorted());
}

#[tokio::test]
async fn what_is_no_model_is_refused_and_leaves_nothing() {
    let fixture = Fixture::with(StoreLimits { model_bytes_max: Bytes::new(10), free_bytes_min: Bytes::new(0) });
    let model = || fixture.file(MODEL_FILE, b"graph");
    let many = (0..=MODEL_FILES_MAX).map(|index| fixture.file(&format!("f{index}"), b"")).collect();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let special = |file: OwnedFd| vec![ModelFile { path: MODEL_FILE.parse().unwrap(), file }];
    for (files, expected) in [
        (vec![], "has no file called model.onnx"),
        (vec![fixture.file("other.onnx", b"")], "has no file called model.onnx"),
        (many, "has 129 files"),
        (vec![model(), model()], "two files called `model.onnx`"),
        (vec![model(), fixture.file("a", b""), fixture.file("a/b", b"")], "two files called `a/b`"),
        (vec![model(), fixture.file("model.onnx/b", b"")], "two files called `model.onnx/b`"),
        (vec![model(), fixture.file("w", b"123456")], "has 11 bytes, more than 10"),
        (special(pipe.into()), "`model.onnx` is not a regular file"),
        (special(File::open("/").unwrap().into()), "`model.onnx` is not a regular file"),
        (special(File::open("/dev/zero").unwrap().into()), "`model.onnx` is not a regular file"),
    ] {
        let error = fixture.add(files).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.is_invalid_input());
        assert_eq!(fixture.names(), [""; 0]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    let path = fixture.sources.path().join("write-only");
    fs::write(&path, "x").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap().into();
    let files = vec![fixture.file(MODEL_FILE, b"graph"), ModelFile { path: "w.bin".parse().unwrap(), file }];
    let error = fixture.add(files).await.unwrap_err();
    assert_eq!(error.to_string(), "reading the given `w.bin` failed");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(fixture.names(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_changes_length_while_it_is_copied_is_refused() {
    for (length, read) in [(2, 2), (9, 9)] {
        let fixture = Fixture::new();
        let model = fixture.file(MODEL_FILE, b"graph");
        let source = File::from(model.file.try_clone().unwrap());
        let error = fixture.store.add(vec![model], move |_, _| source.set_len(length).unwrap()).await.unwrap_err();
        assert!(matches!(error, StoreError::Changed { expected: 5, found, .. } if found == read), "{error}");
        assert_eq!(fixture.names(), [""; 0]);
    }
}

#[tokio::test]
async fn a_disk_without_room_is_told_before_copying() {
    let fixture = Fixture::with(StoreLimits { free_bytes_min: Bytes::new(u64::MAX), ..StoreLimits::default() });
    let error = fixture.add(fixture.model()).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(!error.is_invalid_input());
    assert_eq!(fixture.names(), [""; 0]);
}

#[tokio::test]
async fn a_failure_to_write_is_an_error_that_names_the_place_and_leaves_nothing() {
    let fixture = Fixture::new();
    let path = fixture.data.path().join(DIRECTORY);
    // Something else takes the name that the copy of the second file needs.
    let files = vec![fixture.file(MODEL_FILE, b"graph"), fixture.file("w.bin", b"w")];
    let taken = path.join(format!("{INCOMING}0/w.bin"));
    let error = fixture.store.add(files, move |_, _| fs::create_dir_all(&taken).unwrap()).await.unwrap_err();
    assert!(error.to_string().starts_with("creating `"), "{error}");
    assert!(error.to_string().ends_with("/w.bin` failed"), "{error}");
    assert_eq!(fixture.names(), [""; 0]);
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_is_given_up() {
    let fixture = Fixture::new();
    let (began, wait_began) = tokio::sync::oneshot::channel();
    let (go_on, wait_go_on) = mpsc::channel::<()>();
    let mut began = Some(began);
    let add = fixture.store.add(fixture.model(), move |_, _| {
        if let Some(began) = began.take() {
            began.send(()).unwrap();
            wait_go_on.recv().unwrap();
        }
    });
    tokio::select! {
        _ = add => panic!("the copy was to wait"),
        _ = wait_began => {}
    }
    go_on.send(()).unwrap();
    // Copies take turns, so the one that was given up has ended when this one has.
    let other = fixture.add(vec![fixture.file(MODEL_FILE, b"other")]).await.unwrap();
    assert_eq!(fixture.names(), [other.digest.directory_name()]);
}

#[tokio::test]
async fn a_damaged_model_is_replaced() {
    let fixture = Fixture::new();
    let digest = fixture.add(fixture.model()).await.unwrap().digest;
    let file = fixture.store.path_of(&digest).join("weights/a/b.bin");
    for damage in [fs::remove_file, |path: &PathBuf| {
        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).and_then(|()| File::create(path)?.set_len(1))
    }] {
        let directory = file.parent().unwrap();
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
        damage(&file).unwrap();
        assert_eq!(fixture.add(fixture.model()).await.unwrap().digest, digest);
        assert_eq!(fs::read(&file).unwrap(), [7; 3_000_000]);
        assert_eq!(fixture.names(), [digest.directory_name()]);
    }
}

#[tokio::test]
async fn removal_waits_for_no_pin_and_garbage_is_what_nobody_wants() {
    let fixture = Fixture::new();
    let wanted = fixture.add(vec![fixture.file(MODEL_FILE, b"wanted")]).await.unwrap().digest;
    let garbage = fixture.add(fixture.model()).await.unwrap().digest;
    let pinned = fixture.add(vec![fixture.file(MODEL_FILE, b"pinned")]).await.unwrap();
    assert!(matches!(fixture.store.remove(pinned.digest).await, Err(StoreError::Pinned { .. })));

    let removed = fixture.store.collect_garbage(HashSet::from([wanted])).await.unwrap();
    assert_eq!(removed, [garbage]);
    let digest = pinned.digest;
    drop(pinned);
    fixture.store.remove(digest).await.unwrap();
    fixture.store.remove(digest).await.unwrap();
    assert_eq!(fixture.names(), [wanted.directory_name()]);
}

#[tokio::test]
async fn two_pins_of_one_model_are_two() {
    let fixture = Fixture::new();
    let one = fixture.add(fixture.model()).await.unwrap();
    let two = fixture.add(fixture.model()).await.unwrap();
    let digest = one.digest;
    drop(one);
    assert!(matches!(fixture.store.remove(digest).await, Err(StoreError::Pinned { .. })));
    drop(two);
    fixture.store.remove(digest).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_left_is_deleted_and_models_stay() {
    let fixture = Fixture::new();
    let digest = fixture.add(fixture.model()).await.unwrap().digest;
    let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
    let Fixture { data, store, .. } = fixture;
    let models = data.path().join(DIRECTORY);
    drop(store);
    for leftover in [format!("{INCOMING}0"), format!("{REMOVING}7")] {
        let sealed = models.join(&leftover).join("weights");
        fs::create_dir_all(&sealed).unwrap();
        fs::write(sealed.join("half"), "half").unwrap();
        std::os::unix::fs::symlink(data.path(), sealed.join("link")).unwrap();
        for directory in [&sealed, &models.join(&leftover)] {
            fs::set_permissions(directory, PermissionsExt::from_mode(0o555)).unwrap();
        }
    }
    fs::write(models.join(format!("{INCOMING}file")), "x").unwrap();
    fs::write(data.path().join("bystander"), "x").unwrap();

    let store = ModelStore::open(data.path(), StoreLimits::default()).unwrap();
    assert_eq!(store.list().unwrap(), [digest]);
    assert_eq!(fs::read_dir(&models).unwrap().count(), 1);
    assert!(data.path().join("bystander").exists());
}

#[test]
fn a_store_has_one_owner() {
    let _lock_ends_when_dropped = dormouse_faults::no_child_starts();
    let fixture = Fixture::new();
    let again = ModelStore::open(fixture.data.path(), StoreLimits::default()).unwrap_err();
    assert!(matches!(again, StoreError::InUse { .. }), "{again}");
    let Fixture { data, store, .. } = fixture;
    drop(store);
    ModelStore::open(data.path(), StoreLimits::default()).unwrap();
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
    let error = ModelStore::open(Path::new("/proc"), StoreLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "creating `/proc/models` failed");
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join(DIRECTORY), "a file").unwrap();
    assert!(ModelStore::open(data.path(), StoreLimits::default()).is_err());
}
