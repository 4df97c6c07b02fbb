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

/// A running `dormouse serve`, which does not outlive its test.
struct Serve(Child);

impl Serve {
    fn spawn(home: &Home, arguments: &[&str]) -> Self {
        let listen = ["--listen", "127.0.0.1:0"];
        let arguments: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().copied()).chain(listen).collect();
        Self(command(home, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Reads what it prints until it is ready; the address of its endpoint.
    fn until_ready(&mut self) -> String {
        let mut stderr = BufReader::new(self.0.stderr.take().unwrap()).lines();
        assert!(stderr.any(|line| line.unwrap() == "ready"), "it ended before it was ready");
        // What it still says must not fill the pipe.
        std::thread::spawn(move || stderr.for_each(drop));
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.split_whitespace().nth(1).expect("an address").to_owned()
    }

    /// Ctrl-C.
    fn end(&mut self) -> Option<i32> {
        processes::kill(i32::try_from(self.0.id()).unwrap(), Signal::INT);
        until("serve ends", || self.0.try_wait().unwrap()).code()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

fn infer(url: &str) {
    let (address, _) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let path = url.split_once(address).unwrap().1;
    let request = Request::post(&format!("{path}/infer"), silero::request().to_string());
    silero::check(&Connection::to(address.parse().unwrap()).send(&request).ok().json());
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn everything_is_gone_on_exit() {
    let home = real();
    let mut serve = Serve::spawn(&home, &[silero::model().to_str().unwrap()]);
    let url = serve.until_ready();
    assert!(url.ends_with("/v2/models/silero-vad"), "{url}");
    let run = fs::read_dir(home.run()).unwrap().next().expect("a directory of its own").unwrap().path();
    let listed = cli::run(Command::new(REAL).args(["ls", "--run"]).arg(&run)).ok();
    assert!(listed.stdout.contains("silero-vad"), "the other commands reach it");
    infer(&url);
    let status = Connection::to_socket(&run.join("admin.sock")).unwrap().send(&Request::get("/v1/node")).ok().json();
    let instance = status["instance"].as_str().unwrap();
    assert!(!processes::of_instance(instance).is_empty());

    assert_eq!(serve.end(), Some(0));
    assert!(is_empty(&home.run()), "nothing is left below --run");
    assert!(processes::control_groups(instance).is_empty());
}

#[test]
fn directories_may_be_relative() {
    let home = real();
    let config = home.write("serve.toml", format!("[sandbox]\nonnxruntime = {:?}\n", paths::onnxruntime()));
    let around = config.parent().unwrap();
    let mut command = Command::new(REAL);
    command.current_dir(around).arg("serve").arg(silero::model()).arg("--config").arg(&config);
    command.args(["--listen", "127.0.0.1:0", "--run", "here", "--data", "kept"]);
    let mut serve = Serve(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    infer(&serve.until_ready());
    assert_eq!(serve.end(), Some(0));
    assert!(is_empty(&around.join("here")));
    assert!(around.join("kept/endpoints/silero-vad.json").is_file());
}

#[test]
fn data_that_was_asked_for_is_kept() {
    let home = real();
    let data = home.data();
    let mut serve =
        Serve::spawn(&home, &[silero::model().to_str().unwrap(), "--name", "vad", "--data", data.to_str().unwrap()]);
    serve.until_ready();
    assert_eq!(serve.end(), Some(0));
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
fn two_models_of_one_name_are_refused() {
    let home = real();
    let model = silero::model();
    let model = model.to_str().unwrap();
    let told = cli::run(&mut command(&home, &["serve", model, model, "--listen", "127.0.0.1:0"]));
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("would be called `silero-vad`"), "{}", told.stderr);
}

#[test]
fn what_a_killed_one_left_is_removed_by_the_next() {
    let home = real();
    let model = silero::model();
    let mut killed = Serve::spawn(&home, &[model.to_str().unwrap()]);
    infer(&killed.until_ready());
    let abandoned = fs::read_dir(home.run()).unwrap().next().unwrap().unwrap().path();
    let status =
        Connection::to_socket(&abandoned.join("admin.sock")).unwrap().send(&Request::get("/v1/node")).ok().json();
    killed.kill();
    assert!(abandoned.exists());
    let mut next = Serve::spawn(&home, &[model.to_str().unwrap()]);
    next.until_ready();
    assert!(!abandoned.exists());
    until_true("its groups are gone", || processes::control_groups(status["instance"].as_str().unwrap()).is_empty());
    assert_eq!(next.end(), Some(0));
}
