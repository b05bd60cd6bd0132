//! Running a program to its end, with everything that it said in the error.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Context, Error, Result};

/// Runs `command` and returns its standard output.
///
/// # Errors
/// It could not be started, or ended with a status other than 0: the error holds its command line and its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::new(format!(
        "{} ended with {}\n{}{}",
        describe(command),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )))
}

/// Runs `command` with no input, whatever its status.
///
/// # Errors
/// It could not be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().context(format_args!("starting {}", describe(command)))
}

/// Runs `command` with `input` on its standard input and returns its standard output.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(format_args!("starting {}", describe(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context("writing to its standard input")?;
    }
    let output = child.wait_with_output().context("waiting for it")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{} ended with {}\n{stderr}", describe(command), output.status)))
}

/// Runs `ip` with the given words, split at spaces.
///
/// # Errors
/// As [`run`].
pub fn ip(words: &str) -> Result<String> {
    run(Command::new("ip").args(words.split_whitespace()))
}

/// Makes `program` executable for everyone, with what `source` holds. Another process writes it: if this one did, a
/// child that another thread forks meanwhile would hold it open for writing until it executes its own program, and the
/// kernel executes nothing that is open for writing (`ETXTBSY`).
///
/// # Errors
/// As [`run`].
pub fn copy_program(source: &Path, program: &Path) -> Result<()> {
    run(Command::new("install").args(["-m", "755"]).arg(source).arg(program)).map(drop)
}

/// The same with `script` in it.
///
/// # Errors
/// As [`run`].
pub fn write_program(script: &str, program: &Path) -> Result<()> {
    run_with_input(Command::new("install").args(["-m", "755", "/dev/stdin"]).arg(program), script).map(drop)
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    format!("`{line}`")
}
