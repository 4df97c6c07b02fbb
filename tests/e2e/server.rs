//! A server of every round: of the speech model where replicas are workers, and of a script where they are images.

use dormouse_tests::{Daemon, Endpoint, Home, Request, Round, Script};
use serde_json::{Value, json};

use crate::{fake, real, silero};

/// What the script's server is asked, and answers.
const NUMBER: i64 = 7;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) round: Round,
}

impl Server {
    pub(crate) fn home(self) -> Home {
        let home = if self.is_image() { fake() } else { real() };
        home.in_round(self.round)
    }

    pub(crate) fn deploy<'a>(self, daemon: &'a Daemon, name: &str) -> Endpoint<'a> {
        if self.is_image() {
            return daemon.deploy_fake(name, Script::echo(), &[]);
        }
        daemon.deploy(name, &silero::model())
    }

    pub(crate) fn request(self, endpoint: &Endpoint<'_>) -> Request {
        if self.is_image() {
            return endpoint.echo_request(NUMBER);
        }
        Request::infer(&endpoint.name, &silero::request())
    }

    #[track_caller]
    pub(crate) fn check(self, answer: &Value) {
        if self.is_image() {
            return assert_eq!(answer["outputs"][0]["data"], json!([NUMBER]), "{answer}");
        }
        silero::check(answer);
    }

    #[track_caller]
    pub(crate) fn call(self, endpoint: &Endpoint<'_>) {
        self.check(&endpoint.daemon.send(&self.request(endpoint)).ok().json());
    }

    fn is_image(self) -> bool {
        self.round == Round::Image
    }
}
