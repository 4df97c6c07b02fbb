use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{io::Errno, process::Signal};
use tempfile::TempDir;

use crate::{
    Call, End, Experiment,
    watch::{Fault, Plan, Watch, Watched},
};

/// What a disk, a full table or a memory shortage makes the kernel answer.
const ERRORS: [Errno; 7] =
    [Errno::NOSPC, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];

/// What a child is to do, in its environment.
const ROLE: &str = "DORMOUSE_FAULTS_ROLE";
const PLACE: &str = "DORMOUSE_FAULTS_PLACE";
const REPORT: &str = "DORMOUSE_FAULTS_REPORT";

/// Held while a child is started, and while something is open that must be closed when it says so.
static STARTING: Mutex<()> = Mutex::new(());

/// While this lives, no child is started in this process. Until it has become another program a child
/// holds open what its parent has open, and with it file locks that the parent gives up: a test that
/// does so beside tests with faults holds this.
pub fn no_child_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory of one round, and beside it what a child reports.
struct Round {
    directory: TempDir,
}

impl Round {
    fn new(experiment: &dyn Experiment) -> Self {
        let round = Self { directory: tempfile::tempdir().unwrap() };
        let _closed = no_child_starts();
        fs::create_dir(round.place()).unwrap();
        experiment.prepare(&round.place());
        round
    }

    fn place(&self) -> PathBuf {
        // The kernel tells names of open files without symbolic links.
        self.directory.path().canonicalize().unwrap().join("place")
    }

    fn report(&self) -> PathBuf {
        self.directory.path().join("report")
    }
}

/// Does the experiment once for every way in which a file operation of it can go wrong. `test` is
/// the calling test's full name, by which the test program runs it alone; the call must be all that
/// the test does before. Returns the operations of a run that nothing disturbed.
///
/// # Panics
/// Where a check of the experiment fails, an error does not say what and where, or the operation does
/// not succeed once the fault is gone.
pub fn at_every_call(test: &str, experiment: &dyn Experiment) -> Vec<Call> {
    if let Ok(role) = env::var(ROLE) {
        play(&role, experiment);
        process::exit(0);
    }
    let calls = strike_each(test, experiment, "kill");
    assert!(!calls.is_empty(), "no file operation was seen");
    strike_each(test, experiment, "tear");
    let round = Round::new(experiment);
    let (status, told) = run_child(test, "errors", &round);
    assert!(status.success(), "{status}:\n{told}");
    assert!(round.report().exists(), "no test is called {test}:\n{told}");
    calls
}

/// One child for each operation that can change anything, which dies there; the last one ends by
/// itself and tells its operations.
fn strike_each(test: &str, experiment: &dyn Experiment, how: &str) -> Vec<Call> {
    for at in 0.. {
        let round = Round::new(experiment);
        let place = round.place();
        let (status, told) = run_child(test, &format!("{how} {at}"), &round);
        let report = fs::read_to_string(round.report()).unwrap_or_else(|_| panic!("{test} did not run:\n{told}"));
        if status.signal() != Some(Signal::KILL.as_raw()) {
            assert!(status.success(), "{status}:\n{told}");
            let _closed = no_child_starts();
            experiment.check(&place, End::Done);
            return report.lines().map(parse).collect();
        }
        println!("{how} at: {report}");
        let _closed = no_child_starts();
        experiment.check(&place, End::Killed);
        again(experiment, &place);
    }
    unreachable!("an operation without end");
}

/// Whatever happened before: now it works.
fn again(experiment: &dyn Experiment, place: &Path) {
    experiment.act(place).unwrap_or_else(|error| panic!("once the fault was gone: {}", chain(&*error)));
    experiment.check(place, End::Done);
}

fn run_child(test: &str, role: &str, round: &Round) -> (ExitStatus, String) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    child.env(ROLE, role).env(PLACE, round.place()).env(REPORT, round.report());
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = no_child_starts();
    // It comes back when the child has become the other program.
    let child = child.spawn().unwrap();
    drop(started);
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status, told)
}

/// What a child does.
fn play(role: &str, experiment: &dyn Experiment) {
    let [place, report] = [PLACE, REPORT].map(|name| PathBuf::from(env::var_os(name).unwrap()));
    let watch = Watch::begin();
    let calls = match role.split_once(' ') {
        Some((how, at)) => {
            let fault = if how == "tear" { Fault::Tear } else { Fault::Kill };
            let plan = Plan { place: place.clone(), fault, at: at.parse().unwrap(), report: report.clone() };
            let (done, Watched { calls, .. }) = watch.during(plan, || experiment.act(&place));
            done.unwrap_or_else(|error| panic!("undisturbed: {}", chain(&*error)));
            calls
        }
        None => {
            ERRORS.into_iter().for_each(|error| answer_each(&watch, experiment, error));
            Vec::new()
        }
    };
    let lines: Vec<String> = calls.iter().map(format).collect();
    fs::write(report, lines.join("\n")).unwrap();
}

/// Lets every operation in turn fail with one error.
fn answer_each(watch: &Watch, experiment: &dyn Experiment, error: Errno) {
    for at in 0.. {
        let round = Round::new(experiment);
        let place = round.place();
        let plan = Plan { place: place.clone(), fault: Fault::Answer(error), at, report: round.report() };
        let (done, Watched { struck, .. }) = watch.during(plan, || experiment.act(&place));
        let Some(struck) = struck else { return };
        println!("{error:?} at: {struck}");
        match done {
            Ok(()) => experiment.check(&place, End::Done),
            Err(told) => {
                let told = chain(&*told);
                assert!(error != Errno::INTR, "an interrupted call is to be made again: {told}");
                let reason = std::io::Error::from(error).to_string();
                let reason = reason.split(" (os error").next().unwrap();
                assert!(told.contains(reason), "it does not say why: {told}");
                assert!(told.contains(place.to_str().unwrap()), "it does not say where: {told}");
                experiment.check(&place, End::Failed);
            }
        }
        again(experiment, &place);
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn format(call: &Call) -> String {
    let to = call.to.as_ref().map_or(String::new(), |to| to.display().to_string());
    format!("{}\t{}\t{to}", call.name, call.path.display())
}

fn parse(line: &str) -> Call {
    let [name, path, to]: [&str; 3] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
    Call { name: name.to_owned(), path: path.into(), to: (!to.is_empty()).then(|| to.into()) }
}
