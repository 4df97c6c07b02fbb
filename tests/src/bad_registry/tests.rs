use tempfile::{TempDir, tempdir};

use super::*;
use crate::{
    Connection, Request, Response, Told,
    oci_image::{Compression, Entry, ImageBuilder, LayerBuilder},
    skopeo,
};

/// A layout whose one image has a layer that is worth cutting.
fn layout() -> (TempDir, Layout) {
    let directory = tempdir().unwrap();
    let layer = LayerBuilder::new(Compression::Plain).entry(Entry::zeros("zeros", 100_000));
    let layout = Layout::of(directory.path().join("layout"), &ImageBuilder::new().layer(layer.build()).build(), "a");
    (directory, layout)
}

/// What skopeo tells of copying the image.
fn copied(fault: Fault) -> (Told, Vec<Asked>) {
    let (directory, layout) = layout();
    let registry = BadRegistry::start(&layout, fault);
    let from = format!("docker://{}", registry.reference("app:a"));
    let to = format!("dir:{}", directory.path().join("copy").display());
    let told = skopeo::run("copy", &["--src-tls-verify=false", &from, &to]);
    (told, registry.asked())
}

#[test]
fn skopeo_copies_where_nothing_is_wrong() {
    let _ = copied(Fault::Nothing).0.ok();
    let (told, asked) = copied(Fault::WantsToken);
    let _ = told.ok();
    assert!(asked.iter().any(|asked| asked.path.starts_with("/token")), "{asked:?}");
    // It comes again by itself.
    let _ = copied(Fault::TooManyRequests { retry_after_seconds: 1, times: Times::First(1) }).0.ok();
}

#[test]
fn skopeo_notices_each_fault() {
    let faults = [
        (Fault::NoChallenge, "unauthorized"),
        (Fault::RefusesToken, "unauthorized"),
        (Fault::Forbidden, "denied"),
        (Fault::NotFound, "manifest unknown"),
        (Fault::ServerError(Times::Always), "500"),
        (Fault::CutsLayer(Times::Always), "EOF"),
        (Fault::FlipsLayer, "igest did not match"),
        (Fault::ShortLayer, "igest did not match"),
        (Fault::LongLayer, "igest did not match"),
        (Fault::Schema1, "FSLayers"),
    ];
    let unnoticed = faults.into_iter().filter_map(|(fault, word)| {
        let (told, _) = copied(fault);
        let is_noticed = told.code == Some(1) && told.stderr.contains(word);
        (!is_noticed).then(|| format!("{fault:?}: {}", told.stderr))
    });
    assert_eq!(unnoticed.collect::<Vec<_>>(), Vec::<String>::new());
}

fn ask(registry: &BadRegistry, path: &str, range: Option<&str>) -> std::io::Result<Response> {
    let request = Request::get(path);
    let request = range.map_or(request.clone(), |range| request.header("range", range));
    Connection::try_to(registry.address())?.try_send(&request)
}

#[test]
fn a_part_of_a_layer_is_served_where_it_was_cut_once() {
    let (_directory, layout) = layout();
    let layer = layout.layers("a").remove(0);
    let path = format!("/v2/app/blobs/{layer}");
    let registry = BadRegistry::start(&layout, Fault::CutsLayer(Times::First(1)));
    assert!(ask(&registry, &path, None).is_err());
    let rest = ask(&registry, &path, Some("bytes=1000-")).unwrap();
    let whole = std::fs::read(layout.blob(&layer)).unwrap();
    assert_eq!((rest.status, &*rest.body), (206, &whole[1000..]));
    let range = format!("bytes 1000-{}/{}", whole.len() - 1, whole.len());
    assert_eq!(rest.header("content-range"), Some(range.as_str()));
    let asked: Vec<_> = registry.asked_of_blobs().into_iter().map(|asked| asked.range).collect();
    assert_eq!(asked, [None, Some("bytes=1000-".to_owned())]);
}

#[test]
fn a_manifest_by_its_digest_is_another() {
    let (_directory, layout) = layout();
    let digest = layout.tagged("a").unwrap().digest;
    let registry = BadRegistry::start(&layout, Fault::OtherManifest);
    let answer = ask(&registry, &format!("/v2/app/manifests/{digest}"), None).unwrap().ok();
    assert_ne!(crate::oci_image::digest(&answer.body), digest);
    let _ = answer.json();
}

#[test]
fn who_stalls_and_who_never_ends_go_with_the_registry() {
    let (_directory, layout) = layout();
    let path = format!("/v2/app/blobs/{}", layout.layers("a").remove(0));
    for (fault, path) in
        [(Fault::StallsLayer(Times::Always), path.as_str()), (Fault::EndlessManifest, "/v2/app/manifests/a")]
    {
        let registry = BadRegistry::start(&layout, fault);
        let mut connection = Connection::to(registry.address());
        connection.write(&Request::get(path).bytes()).unwrap();
        let reader = thread::spawn(move || connection.receive());
        crate::wait::until_true("it was asked", || !registry.asked().is_empty());
        drop(registry);
        assert!(reader.join().unwrap().is_err(), "{fault:?}");
    }
}
