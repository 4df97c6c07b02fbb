//! The lines that `make run` prints, executed.

use std::process::Command;

use dormouse_tests::{cli, paths};

use crate::clients::with_demo_models;

/// Each command of the transcript with what it answers.
fn commands(transcript: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in transcript.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, answer))) => answer.push_str(&format!("{line}\n")),
            (None, None) => panic!("an answer before the first command: {line}"),
        }
    }
    commands
}

#[test]
fn what_make_run_prints_answers_as_it_says() {
    let daemon = with_demo_models();
    let transcript = std::fs::read_to_string(paths::repository().join("docs/examples/transcript.txt")).unwrap();
    let commands = commands(&transcript);
    assert!(commands.len() >= 3, "one for each model");
    for (command, answer) in commands {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(&command).current_dir(paths::repository());
        shell.env("DORMOUSE_URL", format!("http://{}", daemon.address()));
        assert_eq!(cli::run(&mut shell).ok().stdout, answer, "{command}");
    }
}
