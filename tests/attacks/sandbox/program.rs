//! Class 1: the program that every container executes, written to from one of them.

use std::{fs, path::Path};

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::machine;
use sha2::{Digest, Sha256};

use crate::stage::Stage;

/// Two defences are in its way: the file cannot be written, and who cannot execute another program
/// cannot stop executing this one, which keeps it from being written too.
pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: 1,
    name: "overwrite the program through the linker",
    defence: "PrivateProgram,SystemCallFilter",
    run: overwrite,
}];

/// What counts is what the next container is given, whoever wrote what.
fn overwrite(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let replica = stage.replica();
    let answer = stage.ask(&replica, "overwrite-program");
    let next = stage.replica();
    let pid = machine::process(&stage.daemon.group(), &next);
    let given = sha256(Path::new(&format!("/proc/{pid}/root/usr/bin/dormouse")));
    let installed = sha256(&ground.program);
    stage.leave();
    assert_eq!(sha256(&ground.program), installed, "the installed program is out of reach in any case");
    if given == installed {
        Outcome::Stopped(format!("{answer}; the next container's program is unchanged"))
    } else {
        Outcome::GotThrough("the next container is given another program".to_owned())
    }
}

fn sha256(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}
