//! What is mounted in processes of images: files, memory, and directories that the host lends.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
};

use dormouse_driver::{
    Daemon,
    images::{archive, as_user, ids_can_be_distinct, with},
    script::read_log,
    volumes::{file, read_only, store_bytes, store_contents, volume},
};
use dormouse_sandbox::messages::{ExitCause, ImageVolume, ReplicaSpec, VolumeSource};
use dormouse_spec::{Bytes, HostPathType, MountPath};

use crate::images::Stage;

pub(crate) fn with_volumes(spec: ReplicaSpec, volumes: Vec<ImageVolume>) -> ReplicaSpec {
    with(spec, |payload| payload.volumes = volumes)
}

pub(crate) fn files_belong_to_who_runs_and_cannot_be_changed() {
    let mut stage = Stage::set();
    let files =
        [file("token", 0o400, "hunter2"), file("conf.d/a.conf", 0o644, "a"), file("run", 0o755, "#!/bin/sh\necho ran")];
    let contents = store_contents(&stage.daemon.settings.data, &files);
    let volumes = vec![read_only("/etc/app", VolumeSource::Files { contents })];
    let spec = with_volumes(as_user(stage.web("files"), "web"), volumes);
    let said = stage.run(
        &spec,
        "cd /etc/app; stat -c '%a %u %g' token conf.d/a.conf conf.d; cat token; echo; ./run; \
         echo x 2>/dev/null >token || echo kept; echo x 2>/dev/null >new || echo closed; rm -f token 2>/dev/null || echo stays; \
         cat /etc/passwd >/dev/null && echo beside",
    );
    let expected = "400 33 34\n644 33 34\n755 0 0\nhunter2\nran\nkept\nclosed\nstays\nbeside";
    assert_eq!(said, expected);
    stage.end();
}

pub(crate) fn one_file_stands_among_those_of_the_image() {
    let mut stage = Stage::set();
    let contents = store_contents(&stage.daemon.settings.data, &[file("index.html", 0o444, "mounted")]);
    let volumes = vec![read_only("/www/index.html", VolumeSource::File { contents })];
    let spec = with_volumes(stage.web("file"), volumes);
    assert_eq!(stage.run(&spec, "cat /www/index.html; ls /www"), "mountedcgi-bin\nindex.html");
    stage.end();
}

pub(crate) fn memory_has_an_end_and_is_gone_with_its_replica() {
    let mut stage = Stage::set();
    let memory = || VolumeSource::Memory { bytes: Bytes::from_mebibytes(1) };
    let contents = store_contents(&stage.daemon.settings.data, &[file("a", 0o444, "nested")]);
    let volumes = vec![
        volume("/srv/work", memory()),
        read_only("/srv/work/deep/conf", VolumeSource::Files { contents }),
        volume("/tmp", memory()),
    ];
    let spec = with_volumes(as_user(stage.web("memory"), "web"), volumes);
    let said = stage.run(
        &spec,
        "stat -c '%a %u' /srv/work /srv /tmp; dd if=/dev/zero of=/srv/work/a bs=64k count=64 2>&1 | grep -c 'No space'; \
         wc -c </srv/work/a; cat /srv/work/deep/conf/a; grep -c ' /tmp ' /proc/self/mounts",
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["777 0", "755 0", "777 0"], "{said}");
    assert_eq!(lines[3], "1", "{said}");
    assert!(lines[4].parse::<u64>().unwrap() <= 1 << 20, "{said}");
    assert_eq!(lines[5..], ["nested1"], "{said}");
    stage.end();
}

/// What the image has on the way stays as it is, and a link of its leads nowhere outside.
pub(crate) fn places_are_found_as_the_image_has_them() {
    let mut stage = Stage::set();
    let private = |header: &mut tar::Header| {
        header.set_mode(0o750);
        header.set_uid(33);
        header.set_gid(34);
    };
    let layer = stage.unpack(
        archive()
            .entry(tar::EntryType::Directory, "opt", b"", |_| {})
            .entry(tar::EntryType::Directory, "opt/app", b"", private)
            .file("opt/app/own", b"own")
            .directory("run")
            .directory("var")
            .symlink("var/run", "/run")
            .symlink("var/up", "../../../../../../run")
            .symlink("nowhere", "/not/there")
            .symlink("kernels", "/proc")
            .symlink("devices", "dev")
            .symlink("top", "/")
            .file("plain", b""),
    );
    let memory = || VolumeSource::Memory { bytes: Bytes::from_mebibytes(1) };
    let at = |places: &[&str]| places.iter().map(|at| volume(at, memory())).collect::<Vec<_>>();
    let volumes = at(&["/opt/app/data", "/var/run/secrets/x", "/var/up/y"]);
    let spec = with_volumes(dormouse_driver::images::web("places", 1, &[layer]), volumes);
    let said = stage.run(&spec, "stat -c '%a %u %g' /opt/app; cat /opt/app/own; echo; ls -d /run/secrets/x /run/y; ls -l /var/run | grep -c '> /run'");
    assert_eq!(said, "750 33 34\nown\n/run/secrets/x\n/run/y\n1");
    for (place, reason) in [("/nowhere/a", "No such file"), ("/plain/a", "Not a directory")] {
        let spec = with_volumes(dormouse_driver::images::web("refused", 1, &[layer]), at(&[place]));
        let told = stage.refusal(&spec);
        assert!(told.contains(place) && told.contains(reason), "{told}");
    }
    // By whatever name, nothing is mounted where another is, or is looked for in what others fill.
    let contents = store_contents(&stage.daemon.settings.data, &[file("a", 0o444, "")]);
    let files = |at: &str| read_only(at, VolumeSource::Files { contents });
    for (volumes, reason) in [
        (vec![files("/run/x"), files("/var/run/x")], "are both at /run/x"),
        (vec![files("/run"), files("/var/run/x")], "is below that at /run"),
        (at(&["/kernels"]), "nothing can be mounted at /kernels"),
        (at(&["/devices/x"]), "nothing can be mounted at /devices/x"),
        (at(&["/top"]), "nothing can be mounted at /top"),
        (at(&["/proc"]), "nothing can be mounted at /proc"),
    ] {
        let spec = with_volumes(dormouse_driver::images::web("linked", 1, &[layer]), volumes);
        let told = stage.refusal(&spec);
        assert!(told.contains(reason), "{told}");
    }
    // A working directory within one is made there.
    let spec = with(with_volumes(stage.sh("in", "pwd"), at(&["/work"])), |payload| {
        payload.working_dir = "/work/deep".to_owned();
        payload.read_only_root = true;
    });
    let log = stage.node.start_image(&spec).log;
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::Code { code: 0 });
    assert_eq!(read_log(log), "/work/deep\n");
    // Also where a link of the image's leads there, and what the image has below is hidden.
    let in_linked = dormouse_driver::images::image("linked", 2, &[layer], &["sh", "-c", "pwd -P; ls /own"]);
    let spec = with(with_volumes(in_linked, at(&["/run"])), |payload| {
        payload.working_dir = "/var/up/deep/er".to_owned();
        payload.read_only_root = true;
    });
    let log = stage.node.start_image(&spec).log;
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::Code { code: 1 });
    assert!(read_log(log).starts_with("/run/deep/er\n"));
    // In a read-only root too.
    let spec = with(with_volumes(dormouse_driver::images::web("ro", 1, &[layer]), at(&["/new/place"])), |payload| {
        payload.read_only_root = true;
    });
    assert_eq!(
        stage.run(&spec, "touch /new/place/a && echo made; touch /new/b 2>/dev/null || echo closed"),
        "made\nclosed"
    );
    stage.end();
}

pub(crate) fn contents_that_the_node_did_not_write_are_refused() {
    let mut stage = Stage::set();
    let data = stage.daemon.settings.data.clone();
    let refusal = |stage: &mut Stage, contents| {
        let spec = with_volumes(stage.web("refused"), vec![read_only("/a", VolumeSource::Files { contents })]);
        stage.refusal(&spec)
    };
    let missing = dormouse_driver::layers::digest(b"missing");
    let linked = store_bytes(&data, b"[]");
    let path = data.join("configs").join(linked.directory_name());
    fs::remove_file(&path).unwrap();
    symlink("/etc/shadow", &path).unwrap();
    let climbing = store_bytes(&data, br#"[{"path":"../a","mode":420,"contents":""}]"#);
    let large = store_bytes(&data, &vec![b' '; (1 << 20) + 1]);
    let twice = store_contents(&data, &[file("a", 0o644, ""), file("a", 0o644, "")]);
    for (contents, reason) in [
        (missing, "No such file"),
        (linked, "contents cannot be read"),
        (climbing, "damaged"),
        (large, "over 1048576 bytes"),
        (twice, "making a file"),
    ] {
        let told = refusal(&mut stage, contents);
        assert!(told.contains("the volume at /a") && told.contains(reason), "{told}");
    }
    stage.end();
}

/// Directories of the host's: `ours` is an account's, `roots` is root's.
struct Lent {
    home: tempfile::TempDir,
}

const ACCOUNT: u32 = 4_321;

impl Lent {
    fn make() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["ours", "ours/sub", "roots", "unlent"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        fs::write(home.path().join("ours/kept"), "kept").unwrap();
        fs::write(home.path().join("roots/readable"), "readable").unwrap();
        fs::write(home.path().join("roots/secret"), "secret").unwrap();
        fs::set_permissions(home.path().join("roots/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(home.path().join("unlent/secret"), "secret").unwrap();
        symlink(home.path().join("unlent"), home.path().join("ours/link")).unwrap();
        // It stays when its listener goes.
        drop(UnixListener::bind(home.path().join("ours/socket")).unwrap());
        for name in ["ours", "ours/sub", "ours/kept"] {
            chown(home.path().join(name), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
        }
        Self { home }
    }

    fn path(&self, name: &str) -> MountPath {
        MountPath::new(self.home.path().join(name).to_str().unwrap()).unwrap()
    }

    fn source(&self, name: &str) -> VolumeSource {
        self.typed(name, HostPathType::Any)
    }

    fn typed(&self, name: &str, r#type: HostPathType) -> VolumeSource {
        host(self.path(name).as_str(), r#type)
    }

    fn owner(&self, name: &str) -> (u32, u32) {
        let metadata = fs::metadata(self.home.path().join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    }
}

fn host(path: &str, r#type: HostPathType) -> VolumeSource {
    VolumeSource::Host { path: MountPath::new(path).unwrap(), r#type }
}

fn stage_with(lent: Vec<(MountPath, bool)>) -> Stage {
    let mut daemon = Daemon::start_with(|settings| settings.lent = lent);
    let mut node = daemon.node();
    let layer = node.unpack_image(&daemon.settings.data.clone(), archive());
    Stage { daemon, node, layer }
}

pub(crate) fn what_is_written_to_a_lent_directory_is_its_owners() {
    let lent = Lent::make();
    let mut stage = stage_with(vec![(lent.path("ours"), false)]);
    if !ids_can_be_distinct(lent.home.path()) {
        let spec = with_volumes(stage.web("lent"), vec![volume("/data", lent.source("ours"))]);
        let told = stage.refusal(&spec);
        assert!(told.contains("cannot show files with other owners"), "{told}");
        return stage.end();
    }
    for (number, user) in ["web", "root"].into_iter().enumerate() {
        let volumes = vec![volume("/data", lent.source("ours")), volume("/sub", lent.source("ours/sub"))];
        let spec = with_volumes(as_user(stage.web(user), user), volumes);
        let said = stage.run(
            &spec,
            &format!(
                "stat -c %U /data/kept; cat /data/kept; echo; echo made >/data/made{number}; echo made >/sub/made{number}; \
                 cat /data/link/secret 2>/dev/null || echo nowhere"
            ),
        );
        assert_eq!(said, format!("{user}\nkept\nnowhere"));
        assert_eq!(lent.owner(&format!("ours/made{number}")), (ACCOUNT, ACCOUNT));
        assert_eq!(lent.owner(&format!("ours/sub/made{number}")), (ACCOUNT, ACCOUNT));
    }
    stage.end();
}

pub(crate) fn a_lent_file_stands_among_those_of_the_image() {
    let lent = Lent::make();
    let mut stage = stage_with(vec![(lent.path("ours"), false), (lent.path("roots/readable"), true)]);
    let mut volumes = vec![
        read_only("/www/index.html", lent.typed("roots/readable", HostPathType::File)),
        read_only("/etc/kept", lent.source("ours/kept")),
    ];
    let script = "cat /www/index.html; ls /www; cat /etc/kept; echo; cat /etc/passwd >/dev/null && echo beside; \
                  echo x 2>/dev/null >/etc/kept || echo closed; echo x 2>/dev/null >/www/index.html || echo closed";
    let said = stage.run(&with_volumes(as_user(stage.web("reader"), "web"), volumes.clone()), script);
    assert_eq!(said, "readablecgi-bin\nindex.html\nkept\nbeside\nclosed\nclosed");
    if ids_can_be_distinct(lent.home.path()) {
        volumes.push(volume("/srv/new/kept", lent.typed("ours/kept", HostPathType::File)));
        let script = "stat -c %U /srv/new/kept; echo changed >/srv/new/kept; cat /etc/kept";
        assert_eq!(stage.run(&with_volumes(as_user(stage.web("writer"), "web"), volumes), script), "web\nchanged");
        assert_eq!(fs::read_to_string(lent.home.path().join("ours/kept")).unwrap(), "changed\n");
        assert_eq!(lent.owner("ours/kept"), (ACCOUNT, ACCOUNT));
    }
    stage.end();
}

pub(crate) fn only_what_is_lent_is_mounted_and_as_it_is_lent() {
    let lent = Lent::make();
    let mut stage = stage_with(vec![(lent.path("ours"), true), (lent.path("roots"), false)]);
    let refused = [
        (volume("/a", lent.source("unlent")), "lends nothing"),
        (read_only("/a", host("/etc", HostPathType::Any)), "lends nothing"),
        (volume("/a", lent.source("ours")), "lends it read-only"),
        (read_only("/a", lent.source("ours/link")), "no link is followed"),
        (read_only("/a", lent.typed("ours/kept", HostPathType::Directory)), "it is no directory"),
        (read_only("/a", lent.typed("ours/sub", HostPathType::File)), "it is no file"),
        (read_only("/a", lent.source("ours/socket")), "it is no directory and no file"),
        (read_only("/a", lent.typed("ours/socket", HostPathType::File)), "it is no file"),
        (read_only("/a", lent.source("ours/none")), "No such file"),
        (volume("/a", lent.source("roots")), "belongs to root"),
    ];
    for (volume, reason) in refused {
        let told = stage.refusal(&with_volumes(stage.web("refused"), vec![volume]));
        assert!(told.contains(reason), "{told}");
    }
    let volumes = vec![read_only("/data", lent.source("ours")), read_only("/roots", lent.source("roots"))];
    let spec = with_volumes(stage.web("reader"), volumes);
    let said = stage.run(
        &spec,
        "cat /data/kept /roots/readable; echo; cat /roots/secret 2>/dev/null || echo hidden; \
         touch /data/new 2>/dev/null || echo closed; chmod 4755 /data/kept 2>/dev/null || echo unchanged",
    );
    assert_eq!(said, "keptreadable\nhidden\nclosed\nunchanged");
    // Nothing is mounted in what others fill.
    let contents = store_contents(&stage.daemon.settings.data, &[file("a", 0o444, "")]);
    let volumes =
        vec![read_only("/data", lent.source("ours")), read_only("/data/sub", VolumeSource::Files { contents })];
    let told = stage.refusal(&with_volumes(stage.web("within"), volumes));
    assert!(told.contains("/data/sub is below that at /data"), "{told}");
    stage.end();
}
