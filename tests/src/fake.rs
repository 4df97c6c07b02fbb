//! The scripted worker: it keeps to the contract of a worker with its spawner and does what its
//! [`Script`](crate::Script) says. It runs confined exactly as the real one.

mod bomb;
mod control;
mod image;
mod serve;

use std::{
    fs::File,
    hint::spin_loop,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{ExitCode, exit},
    time::Duration,
};

use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use self::control::{Assignment, Control, Work};
pub use self::image::run_in_image;
use crate::script::{Infer, Load, OnSigterm, Script};

/// Between two looks at a script that says to wait.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What follows in a model only pads it.
const SCRIPT_BYTES_MAX: u64 = 64 << 10;

/// Where every container finds its model.
const MODEL: &str = "/mnt/models/model.onnx";

/// Whether the model of this container is a script. Any other is the product's own worker's to load; a
/// container that waits for its model is in a test whose models are scripts.
#[must_use]
pub fn is_scripted() -> bool {
    !Path::new(MODEL).exists() || Script::is_in(&ScriptFile(MODEL.into()).head().unwrap_or_default())
}

/// What is said once it is loaded.
const READY: &[u8] = br#"R{"runtime_us":0,"model_us":0,"session_us":0}"#;

pub fn run() -> ExitCode {
    let control = Control::from_stdin();
    let (assignment, listener, script) = control.receive();
    let script = ScriptFile(script);
    let listener = listener.unwrap_or_else(|| {
        // Nothing of this runtime is left when servers are forked, each of which has one of its own.
        runtime().block_on(load_or_say(&control, &script));
        control.say(READY);
        dormouse_driver::worker::template::serve(&assignment.name)
    });
    runtime().block_on(work(control, assignment, listener.into(), script));
    ExitCode::SUCCESS
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn work(
    control: Control,
    assignment: Assignment,
    listener: std::os::unix::net::UnixListener,
    script: ScriptFile,
) {
    let Assignment { name, version, work, .. } = assignment;
    tokio::spawn(on_sigterm(script.clone()));
    println!("fake replica of {name}, version {version}");
    // What is to prepare is started once what is to serve has loaded as the script says.
    if work == Work::Serve {
        load_or_say(&control, &script).await;
    }
    control.say(READY);
    listener.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(listener).unwrap();
    let model = serve::Model { name, version, work, script };
    serve::serve(async || listener.accept().await.map(|(stream, _)| stream), model).await;
}

async fn load_or_say(control: &Control, script: &ScriptFile) {
    if let Err(refusal) = load(script).await {
        control.say(format!("E{refusal}").as_bytes());
        exit(1);
    }
}

/// Returns once it is loaded, if ever.
async fn load(script: &ScriptFile) -> Result<(), &'static str> {
    loop {
        match script.read().load {
            Load::Ready => return Ok(()),
            Load::Hold => sleep(LOOK_EVERY).await,
            Load::Exit { code } => exit(code),
            Load::Bomb(bomb) => {
                bomb::set_off(bomb, &script.0);
                return Ok(());
            }
            Load::Fail => return Err("the script says no"),
        }
    }
}

/// Where the script is; it may change.
#[derive(Debug, Clone)]
struct ScriptFile(PathBuf);

impl ScriptFile {
    fn path(&self) -> &Path {
        &self.0
    }

    /// One that was taken away, as with a revision that is no more, says to wait.
    fn read(&self) -> Script {
        loop {
            let Ok(head) = self.head() else { return Script::echo().load(Load::Hold).infer(Infer::Hold) };
            // Else it is being written.
            if let Some(script) = Script::of_model(&head) {
                return script;
            }
            spin_loop();
        }
    }

    fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let file = File::open(&self.0)?;
        // Who holds a file finds it after it was taken away as well.
        if file.metadata()?.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        file.take(SCRIPT_BYTES_MAX).read_to_end(&mut head)?;
        Ok(head)
    }
}

async fn on_sigterm(script: ScriptFile) {
    let mut terminations = signal(SignalKind::terminate()).unwrap();
    while terminations.recv().await.is_some() {
        if script.read().on_sigterm == OnSigterm::Exit {
            exit(0);
        }
    }
}
