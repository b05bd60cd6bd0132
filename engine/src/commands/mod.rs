//! The subcommands: one file for each, with its arguments and what it does with them.

pub mod alive;
pub mod capture;
pub mod check;
pub mod demote;
pub mod doctor;
pub mod down;
pub mod log_level;
pub mod peers;
pub mod promote;
pub mod recover;
pub mod reload;
pub mod restart;
pub mod save;
mod signals;
pub mod stats;
pub mod steer;
pub mod top;
pub mod up;
pub mod watch;
pub mod why;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use crate::app::exit;
use crate::cli::Command;
use crate::control::error::DaemonError;
use crate::control::inherited::Alone;
use crate::plain;

/// Carries a subcommand out.
pub fn run(command: Command, alone: Alone) -> ExitCode {
    match command {
        Command::Alive(args) => alive::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Up(args) => up::run(args, alone),
        Command::Down(args) => down::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Restart(args) => restart::run(&args),
        Command::Save(args) => save::run(&args),
        Command::Check(args) => check::run(&args),
        Command::LogLevel(args) => log_level::run(&args),
        Command::Peers(args) => peers::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Steer(args) => steer::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Promote(args) => promote::run(&args),
        Command::Demote(args) => demote::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Top(args) => top::run(&args),
    }
}

/// Prints what a daemon answered.
pub fn print(answer: Result<impl AsRef<str>, DaemonError>) -> ExitCode {
    exit(answer.and_then(|lines| write_lines(lines.as_ref())))
}

/// Writes lines to the standard output. Whoever has answered may have been taken over, and a terminal does what it is
/// told.
///
/// # Errors
/// As [`write()`].
pub fn write_lines(text: &str) -> Result<(), DaemonError> {
    write(plain::lines(text).as_bytes())
}

/// Writes to the standard output what is ours, as it is. Whoever closed the pipe has read what they wanted.
///
/// # Errors
/// What kept it from being written, such as a full disk: a part of it in a file must not pass for all of it.
pub fn write(text: &[u8]) -> Result<(), DaemonError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(DaemonError::system("write to the standard output", error))
        }
        _ => Ok(()),
    }
}

/// A word as a shell reads it, on one line.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.,:/@%-".contains(&byte);
    let word: String = word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody may paste what was printed.
    #[test]
    fn a_word_is_quoted_as_a_shell_reads_it() {
        for (word, shown) in [
            ("/var/log/wg0.log", "/var/log/wg0.log"),
            ("", "''"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
            ("a\nb\x1b[2J", "'a\u{fffd}b\u{fffd}[2J'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
