//! Writes what a package holds besides the program. Manual pages and shell completions are made from the command line
//! itself. The notices are those of the crates that are linked in. It also writes the parts of the handbook that the
//! program knows best.
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
use ringfort::cli::Cli;

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

/// `DIRECTORY/man/ringfort.1` and one page for each subcommand, `DIRECTORY/completions`, and the notices in
/// `DIRECTORY/doc`.
fn write(directory: &Path, date: &str) -> io::Result<()> {
    let (man, completions, doc) = (directory.join("man"), directory.join("completions"), directory.join("doc"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    fs::create_dir_all(&doc)?;
    fs::write(doc.join("THIRD-PARTY-NOTICES"), notices::notices()?)?;
    let mut command = Cli::command();
    command.build();
    pages(&command, date, &man)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "ringfort", &completions)?;
    }
    Ok(())
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
    use super::*;

    #[test]
    fn every_command_has_a_page_and_completions() {
        let directory = std::env::temp_dir().join(format!("ringfort-manual-{}", std::process::id()));
        write(&directory, "2026-01-01").unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        let page = read("man/ringfort.1");
        assert!(page.contains("ringfort") && page.contains("2026-01-01"), "{page}");
        let mut pages = 1;
        for sub in Cli::command().get_subcommands() {
            assert!(read(&format!("man/ringfort-{}.1", sub.get_name())).contains(sub.get_name()));
            assert!(read("completions/ringfort.bash").contains(sub.get_name()));
            assert!(read("completions/_ringfort").contains(sub.get_name()));
            assert!(read("completions/ringfort.fish").contains(sub.get_name()));
            pages += 1;
        }
        assert_eq!(fs::read_dir(directory.join("man")).unwrap().count(), pages);
        let notices = read("doc/THIRD-PARTY-NOTICES");
        assert!(notices.contains("io-uring v") && notices.contains("Permission is hereby granted"));
        assert!(!notices.contains("proptest v"), "what only tests use is not passed on");
        fs::remove_dir_all(directory).unwrap();
    }
}
