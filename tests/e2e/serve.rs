//! `dormouse serve`: a daemon for the time of a trial.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use dormouse_tests::{
    Connection, Home, Request, cli, paths, processes,
    wait::{until, until_true},
};
use rustix::process::Signal;

use crate::{REAL, real, silero};

/// A command of the command line with this home's run directory, and no data directory.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let config = home.write("serve.toml", format!("[sandbox]\nonnxruntime = {:?}\n", paths::onnxruntime()));
    let mut command = Command::new(REAL);
    command.args(arguments).arg("--config").arg(config).arg("--run").arg(home.run());
    command
}

fn spawn(home: &Home, arguments: &[&str]) -> Child {
    let listen = ["--listen", "127.0.0.1:0"];
    let arguments: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().copied()).chain(listen).collect();
    command(home, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads what it prints until it is ready; the addresses of its endpoints.
fn until_ready(child: &mut Child) -> Vec<String> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap() == "ready"), "it ended before it was ready");
    // What it still says must not fill the pipe.
    std::thread::spawn(move || stderr.for_each(drop));
    let mut urls = Vec::new();
    let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
    while urls.is_empty() || !stdout.buffer().is_empty() {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
        urls.push(line.split_whitespace().nth(1).expect("an address").to_owned());
    }
    urls
}

fn infer(url: &str) {
    let (address, _) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let path = url.split_once(address).unwrap().1;
    let request = Request::post(&format!("{path}/infer"), silero::request().to_string());
    silero::check(&Connection::to(address.parse().unwrap()).send(&request).ok().json());
}

fn end(child: &mut Child) -> Option<i32> {
    processes::kill(i32::try_from(child.id()).unwrap(), Signal::INT);
    until("serve ends", || child.try_wait().unwrap()).code()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn everything_is_gone_on_exit() {
    let home = real();
    let mut serve = spawn(&home, &[silero::model().to_str().unwrap()]);
    let urls = until_ready(&mut serve);
    assert!(urls[0].ends_with("/v2/models/silero-vad"), "{urls:?}");
    let run = fs::read_dir(home.run()).unwrap().next().expect("a directory of its own").unwrap().path();
    let listed = cli::run(Command::new(REAL).args(["ls", "--run"]).arg(&run)).ok();
    assert!(listed.stdout.contains("silero-vad"), "the other commands reach it");
    infer(&urls[0]);
    let status = Connection::to_socket(&run.join("admin.sock")).unwrap().send(&Request::get("/v1/node")).ok().json();
    let instance = status["instance"].as_str().unwrap();
    assert!(!processes::of_instance(instance).is_empty());

    assert_eq!(end(&mut serve), Some(0));
    assert!(is_empty(&home.run()), "nothing is left below --run");
    assert!(processes::control_groups(instance).is_empty());
}

#[test]
fn data_that_was_asked_for_is_kept() {
    let home = real();
    let data = home.data();
    let mut serve =
        spawn(&home, &[silero::model().to_str().unwrap(), "--name", "vad", "--data", data.to_str().unwrap()]);
    until_ready(&mut serve);
    assert_eq!(end(&mut serve), Some(0));
    assert!(is_empty(&home.run()));
    assert!(data.join("endpoints/vad.json").is_file());
}

#[test]
fn a_model_that_cannot_be_served_ends_it() {
    let home = real();
    let bad = paths::fixture("unsupported_op.onnx");
    let told = cli::run(&mut command(&home, &["serve", bad.to_str().unwrap(), "--listen", "127.0.0.1:0"]));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("NoSuchOperator"), "{}", told.stderr);
    assert!(is_empty(&home.run()), "nothing is left below --run");
}

#[test]
fn what_a_killed_one_left_is_removed_by_the_next() {
    let home = real();
    let model = silero::model();
    let mut killed = spawn(&home, &[model.to_str().unwrap()]);
    infer(&until_ready(&mut killed)[0]);
    let abandoned = fs::read_dir(home.run()).unwrap().next().unwrap().unwrap().path();
    let status =
        Connection::to_socket(&abandoned.join("admin.sock")).unwrap().send(&Request::get("/v1/node")).ok().json();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(abandoned.exists());
    let mut next = spawn(&home, &[model.to_str().unwrap()]);
    until_ready(&mut next);
    assert!(!abandoned.exists());
    until_true("its groups are gone", || processes::control_groups(status["instance"].as_str().unwrap()).is_empty());
    assert_eq!(end(&mut next), Some(0));
}
