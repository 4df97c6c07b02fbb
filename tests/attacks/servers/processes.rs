//! Other processes: to end them, and to make them.

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::machine;
use nix::libc;

use crate::{
    CLASS,
    stage::{NoServer, Stage, TEMPLATE},
};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: CLASS,
        name: "end siblings and the template by signals",
        defence: "RealProc,ServerFilter,SystemCallFilter",
        run: signals,
    },
    Attack { class: CLASS, name: "a bomb of processes", defence: "RealProc,ServerFilter", run: bomb },
];

const CALLS: [&str; 6] = ["kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"];
/// The first two no process can do anything about; for the third a worker has a handler.
const SIGNALS: [i32; 3] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV];
/// More than there may be.
const PROCESSES: usize = 100;

/// The template is the first process of its container. The kernel gives such a one no signal from inside
/// that it has no handler for, so it is to fork on in any case.
fn signals(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let mut attacker = stage.server()?;
        let mut ended = Vec::new();
        for call in CALLS {
            let sibling = stage.server()?;
            let victims = [(TEMPLATE, &SIGNALS[..]), (stage.number(&sibling), &[libc::SIGKILL])];
            for (victim, signals) in victims {
                for signal in signals {
                    stage.tell(&attacker, &format!("signal {call} {victim} {signal}"));
                    if !stage.is_alive(&attacker) {
                        attacker = stage.server()?;
                    }
                }
            }
            ended.extend((!stage.is_alive(&sibling)).then_some(call));
        }
        Ok::<_, NoServer>(match ended.len() {
            0 => Outcome::Stopped(format!("none of {} calls reaches a sibling", CALLS.len())),
            _ if ended == CALLS => {
                Outcome::GotThrough(format!("a sibling ends by each of {}; the template forks on", ended.join(", ")))
            }
            _ => panic!("only {ended:?} end a sibling"),
        })
    })();
    stage.leave(outcome)
}

fn bomb(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let (sibling, attacker) = (stage.server()?, stage.server()?);
        let said = stage.tell(&attacker, &format!("fork {PROCESSES}"));
        let processes = machine::processes(&stage.daemon.group(), &attacker).len();
        assert!(stage.is_alive(&sibling) && processes < PROCESSES, "a group of its own has an end: {said}");
        Ok(if processes > 1 {
            Outcome::GotThrough(format!("{processes} processes, until its limit: {said}"))
        } else {
            Outcome::Stopped(said)
        })
    })();
    stage.leave(outcome)
}
