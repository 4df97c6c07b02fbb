//! The program that takes the worker's place: it does what a connection asks, however harmful.

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use dormouse_driver::worker::{assignment, say};

/// Serves commands until it is ended.
pub fn main(_arguments: &[String]) -> ExitCode {
    let (_, listener) = assignment();
    say(b"R");
    loop {
        let (mut connection, _) = listener.accept().unwrap();
        let mut command = String::new();
        connection.read_to_string(&mut command).unwrap();
        // The caller may have gone.
        let _ = connection.write_all(answer(&command).as_bytes());
    }
}

fn answer(command: &str) -> String {
    let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "read" => std::fs::read_to_string(argument).unwrap_or_else(|error| dormouse_driver::worker::errno(&error)),
        _ => panic!("unknown command {verb}"),
    }
}
