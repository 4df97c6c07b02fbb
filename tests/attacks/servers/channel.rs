//! The spawner: words that are the template's to say, and such as a server has said already.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::{
    CLASS,
    stage::{NoServer, Stage},
};

pub(crate) const ATTACKS: &[Attack] =
    &[Attack { class: CLASS, name: "speak to the spawner", defence: "OwnChannel", run: speak }];

/// That another server ended; what a worker says once, again; what is no word.
const WORDS: [&str; 4] = [
    r#"X{"server":1,"ended":{"signal":9}}"#,
    r#"R{"runtime_us":0,"model_us":0,"session_us":1}"#,
    "Eit does not load",
    "noise",
];

/// They are said over every socket that the server has. Whoever is the spawner's child by its words is ended
/// by a wrong one.
fn speak(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let (sibling, attacker) = (stage.server()?, stage.server()?);
        let taken = WORDS.map(|word| stage.tell(&attacker, &format!("say {word}")));
        Ok::<_, NoServer>(match stage.server() {
            Err(_) => Outcome::GotThrough("the template is ended for what it did not say".to_owned()),
            Ok(next) => {
                assert!([&sibling, &attacker, &next].iter().all(|server| stage.is_alive(server)));
                assert!(taken.iter().all(|taken| taken.starts_with("0 ")), "on its own channel it can: {taken:?}");
                Outcome::Stopped("nobody reads what is said over its own channel, and it has no other".to_owned())
            }
        })
    })();
    stage.leave(outcome)
}
