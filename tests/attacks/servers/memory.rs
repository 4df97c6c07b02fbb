//! The memory of the template, which every later server has, and that of siblings.

use dormouse_attacks::{Attack, Ground, Outcome};

use crate::{
    CLASS,
    stage::{NoServer, Stage, TEMPLATE},
};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: CLASS,
        name: "overwrite a template and a sibling through /proc",
        defence: "NotDumpable,ReadOnlyProc,RealProc,ServerFilter,SystemCallFilter",
        run: |ground| overwrite(ground, "poke-file"),
    },
    Attack {
        class: CLASS,
        name: "overwrite a template and a sibling by process_vm_writev",
        defence: "NotDumpable,RealProc,ServerFilter,SystemCallFilter",
        run: |ground| overwrite(ground, "poke-call"),
    },
    Attack {
        class: CLASS,
        name: "overwrite a template and a sibling as their debugger",
        defence: "NotDumpable,RealProc,ServerFilter,SystemCallFilter",
        run: |ground| overwrite(ground, "poke-traced"),
    },
    Attack {
        class: CLASS,
        name: "read a sibling's memory through /proc",
        defence: "NotDumpable,RealProc,ServerFilter",
        run: read,
    },
];

const FORGED: &str = "1234567890";
const SECRET: &str = "9876543210";
/// What a server has that nobody overwrote.
const UNTOUCHED: &str = "0";

/// What counts is what the next server is, and what the sibling has.
fn overwrite(ground: &Ground, deed: &str) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let sibling = stage.server()?;
        let number = stage.number(&sibling);
        let said = [TEMPLATE, number].map(|victim| {
            // An attacker may not live through its try.
            let attacker = stage.server()?;
            Ok(stage.tell(&attacker, &format!("{deed} {victim} {FORGED}")))
        });
        let [template, of_sibling] = said;
        let said = format!("`{}`, `{}`", template?, of_sibling?);
        let next = stage.server()?;
        let marks = [&next, &sibling].map(|server| stage.tell(server, "mark"));
        Ok::<_, NoServer>(match marks.each_ref().map(String::as_str) {
            [UNTOUCHED, UNTOUCHED] => Outcome::Stopped(format!("{said}: the next server is as the first")),
            [FORGED, FORGED] => Outcome::GotThrough("the next server and the sibling have what it wrote".to_owned()),
            _ => panic!("{marks:?} after {said}"),
        })
    })();
    stage.leave(outcome)
}

fn read(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let (sibling, attacker) = (stage.server()?, stage.server()?);
        assert_eq!(stage.tell(&sibling, &format!("keep {SECRET}")), "ok");
        let read = stage.tell(&attacker, &format!("peek {}", stage.number(&sibling)));
        assert_eq!(stage.tell(&sibling, "mark"), SECRET);
        Ok(if read == SECRET {
            Outcome::GotThrough(format!("it read {read}, which the sibling keeps for itself"))
        } else {
            Outcome::Stopped(read)
        })
    })();
    stage.leave(outcome)
}
