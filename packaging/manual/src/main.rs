//! Writes what packages hold besides the programs. Manual pages and shell completions are made from the command line
//! itself. The notices are those of the crates that are linked in. It also writes the parts of the handbook that the
//! programs know best.
//!
//! ```text
//! cargo run -p ringfort-manual -- DIRECTORY [DATE]
//! cargo run -p ringfort-manual -- --handbook
//! ```

mod handbook;
mod notices;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: ringfort-manual DIRECTORY [DATE], or ringfort-manual --handbook");
        return ExitCode::from(2);
    };
    if directory.as_os_str() == "--handbook" {
        return match handbook::write() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write the handbook: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let date = std::env::args().nth(2).unwrap_or_default();
    match write(&directory, &date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// The programs that have a package, each named as its package and its crate.
fn programs() -> Vec<Command> {
    vec![
        ringfort::cli::Cli::command(),
        #[cfg(feature = "agent")]
        ringfort_agent::cli::Cli::command(),
    ]
}

/// Of each program, in a directory of its name: `man` with its page and one for each subcommand, `completions`, and the
/// notices in `doc`.
fn write(directory: &Path, date: &str) -> io::Result<()> {
    programs().into_iter().try_for_each(|command| {
        let directory = directory.join(command.get_name());
        write_program(command, &directory, date)
    })
}

fn write_program(mut command: Command, directory: &Path, date: &str) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let (man, completions, doc) = (directory.join("man"), directory.join("completions"), directory.join("doc"));
    for directory in [&man, &completions, &doc] {
        fs::create_dir_all(directory)?;
    }
    fs::write(doc.join("THIRD-PARTY-NOTICES"), notices::notices(&name)?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), &name, &completions)?;
    }
    command.build();
    pages(&command, date, &man)
}

fn pages(command: &Command, date: &str, directory: &Path) -> io::Result<()> {
    // `display_name` joins a subcommand to its parents by hyphens, as the name of its page is.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    let man = Man::new(command.clone().disable_help_subcommand(true));
    man.title(name.to_uppercase()).date(date).manual("Ringfort").render(&mut page)?;
    fs::write(directory.join(format!("{name}.1")), page)?;
    command.get_subcommands().filter(|sub| sub.get_name() != "help").try_for_each(|sub| pages(sub, date, directory))
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "agent")]
    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_command_has_a_page_and_completions() {
        let directory = std::env::temp_dir().join(format!("ringfort-manual-{}", std::process::id()));
        write(&directory, "2026-01-01").unwrap();
        for program in programs() {
            let (name, directory) = (program.get_name(), directory.join(program.get_name()));
            let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
            let page = read(&format!("man/{name}.1"));
            assert!(page.contains(name) && page.contains("2026-01-01"), "{page}");
            let mut pages = 1;
            for sub in program.get_subcommands().map(Command::get_name) {
                assert!(read(&format!("man/{name}-{sub}.1")).contains(sub));
                for file in [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")] {
                    assert!(read(&format!("completions/{file}")).contains(sub), "{sub} in {file}");
                }
                pages += 1;
            }
            assert_eq!(fs::read_dir(directory.join("man")).unwrap().count(), pages);
            let notices = read("doc/THIRD-PARTY-NOTICES");
            assert!(notices.contains("Permission is hereby granted"));
            let (own, other) = if name == "ringfort" { ("io-uring v", "tokio v") } else { ("tokio v", "io-uring v") };
            assert!(notices.contains(own) && !notices.contains(other), "{notices}");
            assert!(!notices.contains("proptest v"), "what only tests use is not passed on");
        }
        fs::remove_dir_all(directory).unwrap();
    }

    /// The example of its options.
    #[cfg(feature = "agent")]
    #[test]
    fn the_agent_understands_the_example() {
        let mut run = ringfort_agent::cli::Cli::command();
        let run = run.find_subcommand_mut("run").unwrap();
        let known = |name: &str| run.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == name));
        let mut words = vec!["ringfort-agent".to_owned(), "run".to_owned(), "wg0".to_owned()];
        for line in include_str!("../../agent/wg0.agent").lines() {
            // An option that is off is one as well.
            let Some((name, value)) = line.trim_start_matches('#').split_once('=') else { continue };
            if !name.starts_with(' ') {
                let arg = known(name).unwrap_or_else(|| panic!("nobody reads {name}"));
                words.push(format!("--{}={value}", arg.get_long().unwrap()));
            }
        }
        assert!(words.len() > 9, "{words:?}");
        ringfort_agent::cli::Cli::try_parse_from(words).unwrap();
    }
}
