//! The image of set-up that has a shell and a web server, with everything that is made for a replica of an image and has
//! to go with it: a file system on a loop device, a file of a config map, a range of ids, what runs its probes.

use std::process::Command;

use dormouse_tests::{Daemon, Request, cli, paths};

const IMAGE: &str = "example.org/echo:1";
/// Answers with the number that it is asked, as a model server would.
const SCRIPT: &str = r#"mkdir -p /scratch/www/cgi-bin
printf '#!/bin/sh\nprintf "content-type: application/json\\r\\n\\r\\n"\n' >/scratch/www/cgi-bin/echo
printf 'echo "{\\"outputs\\":[{\\"data\\":[$QUERY_STRING]}],\\"model_name\\":\\"$K_SERVICE\\"}"\n' >>/scratch/www/cgi-bin/echo
chmod 755 /scratch/www/cgi-bin/echo
exec httpd -f -p "$PORT" -h /scratch/www"#;

pub(crate) fn bring(daemon: &Daemon) {
    let archive = daemon.home().path().join("image.tar");
    let layout = paths::setup("images").join("busybox-httpd");
    let _ = cli::run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(layout).arg(".")).ok();
    let _ = daemon.cli(&["image", "import", archive.to_str().unwrap(), "--name", IMAGE]).ok();
}

pub(crate) fn take_away(daemon: &Daemon) {
    let _ = daemon.cli(&["image", "rm", IMAGE]).ok();
}

pub(crate) fn manifest(name: &str, salt: &str, settings: &[(&str, &str)]) -> String {
    let annotations: String =
        settings.iter().map(|(key, value)| format!("    dormouse.dev/{key}: {value:?}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: salt}}\ndata: {{salt: {salt:?}}}\n---\napiVersion: v1\nkind: \
         Pod\nmetadata:\n  name: {name}\n  annotations:\n{annotations}spec:\n  containers:\n    - name: web\n      image: \
         {IMAGE}\n      command: [/bin/sh, -c, {SCRIPT:?}]\n      startupProbe: {{exec: {{command: [test, -e, \
         /etc/salt/salt]}}}}\n      volumeMounts: [{{name: scratch, mountPath: /scratch}}, {{name: salt, mountPath: \
         /etc/salt}}]\n  volumes: [{{name: scratch, emptyDir: {{sizeLimit: 8Mi}}}}, {{name: salt, configMap: {{name: salt}}}}]\n"
    )
}

pub(crate) fn request(endpoint: &str, number: u64) -> Request {
    Request::get(&format!("/cgi-bin/echo?{number}")).host(&format!("{endpoint}.example.com"))
}
