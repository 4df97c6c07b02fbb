//! Registries that are wrong in one thing: each has its own clear error, and nobody else notices.

use std::{net::SocketAddr, thread};

use dormouse_tests::{
    BadRegistry, Daemon, Fault, Script, Told,
    bad_registry::Times,
    oci_image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, damage},
};
use tempfile::TempDir;

use super::{check_no_garbage, home, insecure, names, pull, serving};
use crate::fake;

/// What is wrong, and words that its error has to have.
type Row = (Fault, &'static [&'static str]);

const FAULTS: [Row; 13] = [
    (Fault::NoChallenge, &["credentials", "401"]),
    (Fault::RefusesToken, &["log in"]),
    (Fault::Forbidden, &["forbidden", "requested access to the resource is denied"]),
    (Fault::NotFound, &["no such image", "name and tag"]),
    (Fault::TooManyRequests { retry_after_seconds: 3600, times: Times::Always }, &["no more requests", "3600 s"]),
    (Fault::ServerError(Times::Always), &["500", "the disk of this registry is broken", "attempts"]),
    (Fault::CutsLayer(Times::Always), &["blob sha256:", "ended after", "attempts"]),
    (Fault::FlipsLayer, &["blob sha256:", "digest"]),
    (Fault::ShortLayer, &["blob sha256:", "bytes"]),
    (Fault::LongLayer, &["blob sha256:", "more bytes"]),
    (Fault::EndlessManifest, &["manifest", "more bytes"]),
    (Fault::OtherManifest, &["manifest", "digest"]),
    (Fault::Schema1, &["Docker's first format"]),
];

/// Serves one image, as `app:a`.
struct Served {
    registry: BadRegistry,
    digest: String,
    _layout: TempDir,
}

impl Served {
    fn new(image: &Image, fault: Fault) -> Self {
        let (layout, registry) = serving(image, fault);
        Self { registry, digest: image.digest(), _layout: layout }
    }

    fn address(&self) -> SocketAddr {
        self.registry.address()
    }

    fn by_tag(&self) -> String {
        self.registry.reference("app:a")
    }

    fn by_digest(&self) -> String {
        self.registry.reference(&format!("app@{}", self.digest))
    }
}

fn image() -> Image {
    image_with("zeros")
}

/// Another one for each name, so that nothing of it is there already.
fn image_with(name: &str) -> Image {
    let layer = LayerBuilder::new(Compression::Plain).entry(Entry::zeros(name, 100_000)).build();
    ImageBuilder::new().layer(layer).build()
}

/// What is wrong with a refusal, if something is.
fn complaint(told: &Told, reference: &str, words: &[&str]) -> Option<String> {
    let reason = told.stderr.lines().last().unwrap_or_default();
    let is_right = told.code == Some(1)
        && reason.starts_with("dormouse: ")
        && (reason.contains(reference) || reason.contains("the layer sha256:"))
        && words.iter().all(|word| reason.contains(word));
    (!is_right).then(|| format!("exit {:?}, no {words:?} in: {}", told.code, told.stderr))
}

#[test]
fn each_fault_has_its_error_and_neighbours_do_not_notice() {
    let served = FAULTS.map(|(fault, _)| Served::new(&image(), fault));
    let good = Served::new(&ImageBuilder::of_file("a", "good").build(), Fault::Nothing);
    let addresses: Vec<SocketAddr> = served.iter().chain([&good]).map(Served::address).collect();
    let daemon = insecure(fake(), &addresses).variable("DOCKER_CONFIG", "/nonexistent").start();
    let neighbour = daemon.deploy_fake("neighbour", Script::echo(), &[]);
    neighbour.check_echo(1);
    pull(&daemon, &good.by_tag());

    let refused = |served: &Served, (fault, words): Row| {
        // Whoever asks by tag believes the registry.
        let reference = if fault == Fault::OtherManifest { served.by_digest() } else { served.by_tag() };
        let told = daemon.cli(&["image", "pull", &reference]);
        complaint(&told, &reference, words).map(|complaint| format!("{fault:?}: {complaint}"))
    };
    let complaints: Vec<String> = thread::scope(|scope| {
        let pulls: Vec<_> =
            served.iter().zip(FAULTS).map(|(served, row)| scope.spawn(move || refused(served, row))).collect();
        while pulls.iter().any(|pull| !pull.is_finished()) {
            neighbour.check_echo(2);
        }
        pulls.into_iter().filter_map(|pull| pull.join().unwrap()).collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(names(&daemon), [good.by_tag()]);
    // Until then what had come whole waits for another attempt.
    let _ = daemon.cli(&["image", "prune"]).ok();
    check_no_garbage(&daemon);
    neighbour.check_echo(3);
}

#[test]
fn what_goes_away_is_waited_for() {
    let faults = [
        Fault::ServerError(Times::First(2)),
        Fault::TooManyRequests { retry_after_seconds: 1, times: Times::First(2) },
        Fault::CutsLayer(Times::First(2)),
    ];
    let served = faults.map(|fault| Served::new(&image_with(&format!("{fault:?}")), fault));
    let daemon = home(&served.each_ref().map(Served::address)).start();
    for served in &served {
        pull(&daemon, &served.by_tag());
    }
    // It goes on where it was cut.
    let layer = image_with(&format!("{:?}", faults[2])).layers()[0].blob.digest();
    let asked = served[2].registry.asked_of_blobs().into_iter().filter(|asked| asked.path.ends_with(&layer));
    let ranges: Vec<Option<String>> = asked.map(|asked| asked.range).collect();
    assert!(ranges.len() == 3 && ranges[0].is_none(), "{ranges:?}");
    assert!(ranges[1..].iter().all(|range| range.as_ref().is_some_and(|range| range != "bytes=0-")), "{ranges:?}");
    check_no_garbage(&daemon);
}

/// As long as a registry may send nothing, which is half a minute.
#[test]
fn a_layer_that_stalls_is_asked_for_again() {
    let served = Served::new(&image(), Fault::StallsLayer(Times::First(1)));
    let daemon = home(&[served.address()]).start();
    pull(&daemon, &served.by_tag());
    let layer = image().layers()[0].blob.digest();
    let asked = served.registry.asked_of_blobs();
    let ranges: Vec<_> = asked.iter().filter(|it| it.path.ends_with(&layer)).map(|it| it.range.is_some()).collect();
    assert_eq!(ranges, [false, true], "{asked:?}");
    check_no_garbage(&daemon);
}

#[test]
fn what_a_pull_had_fetched_that_failed_is_taken_away_by_its_name() {
    let served = Served::new(&image(), Fault::CutsLayer(Times::Always));
    let daemon = home(&[served.address()]).start();
    let _ = daemon.cli(&["image", "pull", &served.by_tag()]).failed(1);
    assert_ne!(super::store(daemon.home()).blobs().len(), 0, "it waits for another attempt");
    let _ = daemon.cli(&["image", "rm", &served.by_tag()]).ok();
    check_no_garbage(&daemon);
    let told = daemon.cli(&["image", "rm", &served.by_tag()]).failed(1);
    assert!(told.contains(&served.by_tag()), "{told}");
}

#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let rows: [(Image, &[&str]); 6] = [
        (damage::wrong_size(image(), 0), &["bytes"]),
        (damage::wrong_diff_id(image(), 0), &["cannot be unpacked", "as the image says"]),
        (damage::missing_diff_id(image()), &["1 layers", "0"]),
        (damage::media_type(image(), 0, "text/nonsense"), &["text/nonsense"]),
        (ImageBuilder::of_file("a", "a").platform("linux", other).build(), &["linux/", other, "this machine"]),
        (ImageBuilder::of_file("a", "a").platform("windows", "amd64").build(), &["windows/", "this machine"]),
    ];
    let served = rows.each_ref().map(|(image, _)| Served::new(image, Fault::Nothing));
    let daemon = home(&served.each_ref().map(Served::address)).start();
    let complaints = served.iter().zip(&rows).filter_map(|(served, (_, words))| {
        complaint(&daemon.cli(&["image", "pull", &served.by_tag()]), &served.by_tag(), words)
    });
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
    let _ = daemon.cli(&["image", "prune"]).ok();
    check_no_garbage(&daemon);
}

#[test]
fn who_is_not_there_and_who_is_not_listed_are_told() {
    let served = Served::new(&image(), Fault::Nothing);
    let daemon: Daemon = home(&[([127, 0, 0, 1], 1).into()]).start();
    let told = daemon.cli(&["image", "pull", "127.0.0.1:1/app:a"]);
    assert_eq!(complaint(&told, "127.0.0.1:1/app:a", &["cannot be reached"]), None);
    // Without being listed it is spoken to by TLS alone.
    let told = daemon.cli(&["image", "pull", &served.by_tag()]);
    assert_eq!(complaint(&told, &served.by_tag(), &["127.0.0.1"]), None);
    assert_eq!(served.registry.asked(), []);
    let told = daemon.cli(&["image", "pull", "No Reference"]);
    assert!(matches!(told.code, Some(1 | 2)) && told.stderr.contains("No Reference"), "{}", told.stderr);
}
