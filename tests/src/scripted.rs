//! Endpoints whose replicas follow a [`Script`]: of a model that is one, or of an image whose program reads one.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{Daemon, Endpoint, Home, Round, Script, Told, daemon::manifest, program_image};

/// Lies beside the daemon's.
const PROGRAM: &str = "dormouse-scripted";
const IMAGE: &str = "example.org/scripted:1";
/// What the node's configuration may set that is for models only, and these tests count with for images too.
const ALSO_OF_IMAGES: [(&str, &str, Option<&str>); 2] =
    [("container_concurrency", "container-concurrency", Some("4")), ("pids", "pids", None)];
/// One that stands still is replaced, and one whose processors are busy with something else is not.
const LIVENESS: &str = "{httpGet: {path: /v2/health/live}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 1}";

impl Daemon {
    /// Deploys a script, where the program is the one with the fake worker.
    pub fn deploy_fake(&self, name: &str, script: Script, settings: &[(&str, &str)]) -> Endpoint<'_> {
        let _ = self.try_deploy_fake(name, &script.salt(name), 0, settings).ok();
        self.prepare_round();
        Endpoint::of(self, name)
    }

    /// The same with `padding` bytes beside the script. It is another revision where the script's salt is another.
    #[must_use]
    pub fn try_deploy_fake(&self, name: &str, script: &Script, padding: usize, settings: &[(&str, &str)]) -> Told {
        let manifest = self.write_manifest(name, script, padding, settings);
        self.cli(&["deploy", "-f", manifest.to_str().unwrap()])
    }

    /// What is deployed then, and where it is written.
    #[must_use]
    pub fn write_manifest(&self, name: &str, script: &Script, padding: usize, settings: &[(&str, &str)]) -> PathBuf {
        let home = self.home();
        let model = script.to_padded_model(padding);
        let manifest = if home.round() == Some(Round::Image) {
            self.bring_image();
            let directory = directory(home, name);
            home.write(directory.join("model.onnx").to_str().unwrap(), model);
            manifest_of_image(home, name, &script.salt, settings)
        } else {
            manifest(name, &home.write(&format!("{name}.onnx"), model), settings)
        };
        home.write(&format!("{name}.yaml"), manifest)
    }

    fn bring_image(&self) {
        if self.cli(&["image", "inspect", IMAGE]).code != Some(0) {
            program_image::bring(self, &self.home().program().with_file_name(PROGRAM), IMAGE);
        }
    }
}

/// Where the script is that replicas of an endpoint's image find, whichever revision it is.
pub(crate) fn directory(home: &Home, name: &str) -> PathBuf {
    directories(home).join(name)
}

fn directories(home: &Home) -> PathBuf {
    home.path().join("scripts")
}

/// So that images may be given theirs.
pub(crate) fn lend_scripts(home: Home) -> Home {
    let directories = directories(&home);
    std::fs::create_dir(&directories).unwrap();
    home.set("sandbox", "host_paths", &format!("[{{ path = {directories:?}, read_only = true }}]"))
}

/// A custom predictor of KServe's, with the script where its model would be.
fn manifest_of_image(home: &Home, name: &str, salt: &str, settings: &[(&str, &str)]) -> String {
    let mut annotations = String::new();
    let mut annotate = |key: &str, value: &str| writeln!(annotations, "    dormouse.dev/{key}: {value:?}").unwrap();
    for (default, key, otherwise) in ALSO_OF_IMAGES {
        if let Some(value) = home.endpoint_setting(default).or(otherwise) {
            annotate(key, value);
        }
    }
    settings.iter().for_each(|(key, value)| annotate(key, value));
    let directory = directory(home, name);
    let directory = Path::display(&directory);
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: {name}\n  \
         annotations:\n{annotations}spec:\n  predictor:\n    containers:\n      - name: kserve-container\n        image: \
         {IMAGE}\n        env:\n          - {{name: STORAGE_URI, value: \"file://{directory}\"}}\n          - {{name: \
         SALT, value: {salt:?}}}\n        livenessProbe: {LIVENESS}\n"
    )
}
