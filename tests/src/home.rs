//! The directories and the configuration of a daemon, which outlive its runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{Daemon, Round, Told, cli, paths};

#[derive(Debug)]
pub struct Home {
    program: PathBuf,
    /// Section, key, value as TOML.
    settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    /// Variables of the environment of every command.
    environment: Vec<(String, String)>,
    directory: TempDir,
    /// What its daemons have to prove.
    round: Option<Round>,
}

impl Home {
    /// # Panics
    /// Where the tests do not run as root.
    #[must_use]
    pub fn of(program: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests start containers: run them as root (`make test`)");
        // Short, as the run directory must be.
        let directory = tempfile::Builder::new().prefix("dm").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (program, settings, environment) = (program.into(), BTreeMap::new(), Vec::new());
        let home = Self { program, settings, environment, directory, round: None };
        let home = home
            .set("gateway", "listen", "\"127.0.0.1:0\"")
            .set("sandbox", "onnxruntime", &format!("{:?}", paths::onnxruntime()))
            .set("node", "memory_budget", "\"4Gi\"");
        Round::of_environment().configure(home)
    }

    /// Its replicas are of this round, and a daemon of which none was fails its test.
    #[must_use]
    pub fn in_round(mut self, round: Round) -> Self {
        self.round = Some(round);
        round.configure(self)
    }

    pub(crate) fn round(&self) -> Option<Round> {
        self.round
    }

    /// A setting of the configuration; `value` is TOML.
    #[must_use]
    pub fn set(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.settings.entry(section).or_default().insert(key, value.to_owned());
        self
    }

    /// A memory budget of which replicas can have this much, each beside what it is made of.
    #[must_use]
    pub fn memory_for_replicas(self, mebibytes: u32) -> Self {
        let budget = self.round.unwrap_or(Round::of_environment()).budget(mebibytes);
        self.set("node", "memory_budget", &format!("\"{budget}Mi\""))
    }

    /// What [`Self::set`] set.
    pub(crate) fn setting(&self, section: &str, key: &str) -> &str {
        &self.settings[section][key]
    }

    /// What [`Self::endpoint`] set.
    pub(crate) fn endpoint_setting(&self, key: &str) -> Option<&str> {
        self.settings.get("endpoint.defaults")?.get(key).map(String::as_str)
    }

    /// A variable of the daemon's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A setting of `[endpoint.defaults]`.
    #[must_use]
    pub fn endpoint(self, key: &'static str, value: &str) -> Self {
        self.set("endpoint.defaults", key, value)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A copy of the program that every user may run, which those in a checkout need not be.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[must_use]
    pub fn public_program(&self) -> PathBuf {
        let copy = self.path().join("dormouse");
        fs::copy(&self.program, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("daemon.log")
    }

    /// Writes a file beside the directories and returns its path.
    ///
    /// # Panics
    /// Where that fails.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program with this home's directories and configuration.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let (config, text) = (self.path().join("dormouse.toml"), self.configuration());
        // Commands side by side must not find a file that another one is writing.
        if fs::read_to_string(&config).ok().as_ref() != Some(&text) {
            self.write("dormouse.toml", text);
        }
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().cloned());
        command.args(arguments).arg("--config").arg(config);
        command.arg("--run").arg(self.run()).arg("--data").arg(self.data()).current_dir(self.path());
        command
    }

    /// One command of the command line, to its end.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Told {
        cli::run(&mut self.command(arguments))
    }

    /// Starts the daemon and waits until it serves.
    #[must_use]
    pub fn start(self) -> Daemon {
        Daemon::start(Arc::new(self))
    }

    /// A daemon command whose output goes to the log.
    pub(crate) fn daemon_command(&self) -> Command {
        let mut command = self.command(&["daemon"]);
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn configuration(&self) -> String {
        let mut text = String::new();
        for (section, settings) in &self.settings {
            writeln!(text, "[{section}]").unwrap();
            for (key, value) in settings {
                writeln!(text, "{key} = {value}").unwrap();
            }
        }
        text
    }
}
