//! What was prepared for another library is prepared again, while the original serves.

use std::{fs, io::Write};

use dormouse_tests::{Endpoint, Script, paths, script::Prepare, wait::until_true};

use super::{preparation, reason, stored};
use crate::fake;

#[test]
fn another_library_renews_it_beside_what_serves() {
    let home = fake();
    let library = home.path().join("libonnxruntime.so");
    fs::copy(paths::onnxruntime(), &library).unwrap();
    let daemon = home.set("sandbox", "onnxruntime", &format!("{library:?}")).start();
    let endpoint = daemon.deploy_fake("m", Script::echo(), &[]);
    let before = preparation(&endpoint);
    assert_eq!(before["outcome"], "prepared");
    // The next preparation waits.
    endpoint.play(Script::echo().prepare(Prepare::Hold));

    let home = daemon.stop();
    fs::File::options().append(true).open(&library).unwrap().write_all(b"another build").unwrap();
    let daemon = home.start_again();
    let endpoint = Endpoint::of(&daemon, "m");
    assert!(reason(&endpoint).contains("not been prepared on this machine yet"));
    endpoint.check_echo(1);
    let serving = endpoint.replicas();

    endpoint.play(Script::echo());
    until_true("it is prepared again", || preparation(&endpoint)["outcome"] == "prepared");
    let after = preparation(&endpoint);
    assert_ne!(after["key"], before["key"]);
    endpoint.check_echo(2);
    let left: Vec<_> = endpoint.replicas().into_iter().map(|replica| replica.id).collect();
    assert_eq!(left, serving.into_iter().map(|replica| replica.id).collect::<Vec<_>>());
    let key = after["key"].as_str().unwrap().replace(':', "-");
    until_true("the old one is deleted", || stored(&daemon.home().data()) == [key.clone()]);

    // It is written down: the next start has nothing to do.
    endpoint.play(Script::echo().prepare(Prepare::Crash));
    let daemon = daemon.restart();
    assert_eq!(preparation(&Endpoint::of(&daemon, "m")), after);
}

#[test]
fn an_endpoint_of_a_version_that_prepared_nothing_is_prepared() {
    let daemon = fake().start();
    daemon.deploy_fake("m", Script::echo(), &[]).check_echo(1);
    let home = daemon.stop();
    let state = home.data().join("endpoints/m.json");
    let mut desired: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    desired.as_object_mut().unwrap().remove("preparation").expect("it is written down");
    fs::write(&state, desired.to_string()).unwrap();
    let key = stored(&home.data()).remove(0);
    fs::remove_dir_all(home.data().join("prepared").join(&key)).unwrap();

    let daemon = home.start_again();
    let endpoint = Endpoint::of(&daemon, "m");
    until_true("it is prepared", || preparation(&endpoint)["outcome"] == "prepared");
    assert_eq!(stored(&daemon.home().data()), [key]);
    endpoint.check_echo(2);
}
