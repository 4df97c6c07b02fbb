//! Files of the container, which a template and its servers have in common.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::{
    CLASS,
    stage::{NoServer, Stage},
};

pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: CLASS,
    name: "open files, and leave one for a sibling",
    defence: "RealProc,ServerFilter",
    run: open,
}];

const WORD: &str = "from one server to another";

fn open(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let (sibling, attacker) = (stage.server()?, stage.server()?);
        let status = stage.tell(&attacker, "read /proc/1/status");
        let mut answers = vec![stage.tell(&attacker, "open /dev/null")];
        answers.push(stage.tell(&attacker, &format!("create /tmp/word {WORD}")));
        let read = stage.tell(&sibling, "read /tmp/word");
        Ok::<_, NoServer>(if read == WORD && status.contains("NSpid") && answers == ["ok", "ok"] {
            Outcome::GotThrough("it reads of its template, opens a device, and a sibling reads what it left".to_owned())
        } else {
            answers.extend([status, read]);
            assert!(answers.iter().all(|answer| answer == "ENOSYS"), "{answers:?}");
            Outcome::Stopped("ENOSYS for whatever file".to_owned())
        })
    })();
    stage.leave(outcome)
}
