//! Control groups: a server of a hostile template that does not leave its template's.

use dormouse_attacks::{Attack, Ground, Outcome};
use dormouse_driver::machine;

use crate::{
    CLASS,
    stage::{NoServer, Stage},
};

pub(crate) const ATTACKS: &[Attack] = &[Attack {
    class: CLASS,
    name: "serve from the control group of the template",
    defence: "OwnGroup,RealProc",
    run: stay,
}];

fn stay(ground: &Ground) -> Outcome {
    let mut stage = Stage::enter(ground);
    let outcome = (|| {
        let server = stage.server()?;
        let [own, templates] =
            [&server, &stage.template.replica].map(|of| machine::processes(&stage.daemon.group(), of).len());
        assert!(stage.is_alive(&server));
        Ok::<_, NoServer>(match (own, templates) {
            (1, 1) => Outcome::Stopped("it serves from its own".to_owned()),
            (0, 2) => Outcome::GotThrough("it serves from its template's, whose limits it uses up".to_owned()),
            other => panic!("{other:?}"),
        })
    })();
    stage.leave(outcome)
}
