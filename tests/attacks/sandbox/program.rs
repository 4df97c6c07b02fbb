//! Class 1: the program that every container executes, written to from one of them.

use std::{fs, path::Path};

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::machine;
use dormouse_sandbox::messages::ExitCause;
use sha2::{Digest, Sha256};

use crate::stage::Stage;

pub(crate) const ATTACKS: &[Attack] =
    &[Attack { class: 1, name: "overwrite the program through the linker", defence: "PrivateProgram", run: overwrite }];

/// What counts is what the next container is given, whoever wrote what.
fn overwrite(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let answer = stage.ask(&replica, "overwrite-program");
    assert_eq!(answer, "", "the linker was executed");
    let cause = stage.node.exit_cause(&replica);
    assert_eq!(cause, ExitCause::Code { code: 0 }, "its second life had its try");
    let next = stage.replica();
    let pid = machine::process(&stage.daemon.group(), &next);
    let given = sha256(Path::new(&format!("/proc/{pid}/root/usr/bin/dormouse")));
    let installed = sha256(&ground.program);
    stage.leave();
    assert_eq!(sha256(&ground.program), installed, "the installed program is out of reach in any case");
    if given == installed {
        Outcome::Stopped(
            "executing another program lets nobody write this one: the next container's is unchanged".to_owned(),
        )
    } else {
        Outcome::GotThrough("the next container is given another program".to_owned())
    }
}

fn sha256(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}
