//! The program that takes the worker's place: it does what a connection asks, however harmful.
//!
//! What it is asked goes over the socket that every replica has; what came of it is the answer. It
//! holds no secret and judges nothing: the driver does.

mod bomb;
mod descriptors;
mod files;
mod kernel;
mod network;
mod program;

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use dormouse_driver::worker::{Assigned, READY, assigned, say};

/// Serves commands until it is ended.
pub fn main(arguments: &[String]) -> ExitCode {
    descriptors::remember();
    if arguments.first().is_some_and(|argument| argument == OF_IMAGE) {
        return network::serve();
    }
    program::second_life(arguments);
    let Assigned { listener, model, .. } = assigned();
    say(READY);
    loop {
        let (mut connection, _) = listener.accept().unwrap();
        let mut command = String::new();
        connection.read_to_string(&mut command).unwrap();
        let answer = if command == "model" { files::handed_over(model.as_ref()) } else { answer(&command) };
        // The caller may have gone.
        let _ = connection.write_all(answer.as_bytes());
    }
}

/// Where it listens in an image: in its own network, which the control of one attack lacks.
pub const PORT: u16 = 47_113;
/// Tells it that it is a process of an image.
pub const OF_IMAGE: &str = "of-image";

fn answer(command: &str) -> String {
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "bomb" => bomb::bomb(argument),
        "read" => files::read(argument),
        "list" => files::list(argument),
        "find" => files::find(argument),
        "create" => files::create(argument),
        "open" => files::open(argument),
        "overwrite" => files::overwrite(argument),
        "inherited" => descriptors::inherited(),
        "take-connection" => descriptors::take_connection(),
        "leave-root" => descriptors::leave_root(),
        "system-call" => kernel::system_call(argument),
        "connect-abstract" => network::connect_abstract(argument),
        "connect-port" => network::connect_port(argument),
        "overwrite-program" => program::overwrite(),
        _ => panic!("unknown command {verb}"),
    }
}
