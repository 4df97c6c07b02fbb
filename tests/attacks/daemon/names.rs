//! Names that would be paths, were they taken for some.

use dormouse_attacks::{Ground, Outcome};
use dormouse_tests::{Connection, Daemon, Request};
use serde_json::json;

use crate::target::{home, identity};

/// Begins every /etc/passwd.
const STOLEN: &str = "root:x:0";
const WAYS: [&str; 6] = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "m%00%2fetc%2fpasswd",
];

fn ask_admin(daemon: &Daemon, request: &Request) -> (u16, String) {
    let socket = daemon.home().run().join("admin.sock");
    let answer = Connection::to_socket(&socket).unwrap().send(request);
    (answer.status, answer.text())
}

pub(crate) fn as_paths(ground: &Ground) -> Outcome {
    let daemon = home(ground).start();
    let endpoint = identity(&daemon);
    let mut asked = 0;
    for way in WAYS {
        let paths = [
            format!("/v2/models/{way}"),
            format!("/v2/models/{way}/versions/1"),
            format!("/v2/models/m/versions/{way}"),
            format!("/{way}"),
        ];
        let over_http =
            paths.iter().map(|path| (path, daemon.get(path))).map(|(path, it)| (path, (it.status, it.text())));
        let to_admin = ["", "/logs"].map(|rest| format!("/v1/endpoints/{way}{rest}"));
        let to_admin = to_admin.iter().map(|path| (path, ask_admin(&daemon, &Request::get(path))));
        for (path, (status, text)) in over_http.chain(to_admin) {
            asked += 1;
            if text.contains(STOLEN) || !(400..500).contains(&status) {
                return Outcome::GotThrough(format!("{path} got {status} and {} bytes", text.len()));
            }
        }
        let order = json!({ "endpoint": { "name": way }, "files": [] });
        let (status, text) = ask_admin(&daemon, &Request::post("/v1/endpoints", order.to_string()));
        asked += 1;
        if status != 400 {
            return Outcome::GotThrough(format!("a deploy of {way} got {status} {text}"));
        }
    }
    let _ = daemon.send(&crate::target::good(&endpoint)).ok();
    Outcome::Stopped(format!("{asked} requests got 4xx"))
}
