//! What the program knows better than a person: the pages of its commands and metrics, and what `ringfort why` says.
//! `scripts/handbook --write` writes them into `docs/src`, and a test fails if they are not as it would write them.

mod commands;
mod findings;
mod metrics;
mod paragraph;

use std::fs;

use ringfort_handbook::{Page, directory, page};

/// Writes the pages.
///
/// # Errors
/// A page cannot be read or written, or has no place for what belongs there.
pub fn write() -> Result<(), String> {
    for (file, text) in pages()? {
        let path = directory().join(file);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The pages as they should be, by their files.
fn pages() -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![
        ("commands.md", with_region(&page("commands.md")?, &commands::text())?),
        ("metrics.md", with_region(&page("metrics.md")?, &metrics::text())?),
        ("troubleshooting.md", findings::with_texts(&page("troubleshooting.md")?)?),
    ])
}

fn with_region(page: &Page, inside: &str) -> Result<String, String> {
    let region = page.region().ok_or_else(|| format!("{} has no region that is written", page.file))?;
    Ok(format!("{}\n{inside}{}", region.before, region.after))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};
    use ringfort::cli::Cli;
    use ringfort_handbook::{How, pages as all_pages};

    use super::*;

    #[test]
    fn the_pages_say_what_the_program_says() {
        for (file, text) in pages().unwrap() {
            let there = fs::read_to_string(directory().join(file)).unwrap();
            let differs = there.lines().zip(text.lines()).find(|(there, new)| there != new);
            assert!(there == text, "docs/src/{file} is stale, as in {differs:?}: run scripts/handbook --write");
        }
    }

    /// What only another machine can run is at least a command that this program understands.
    #[test]
    fn commands_that_do_not_run_are_understood() {
        let mut looked_at = 0;
        for page in all_pages().unwrap() {
            let blocks = page.blocks.iter().filter(|block| block.is_commands());
            for block in blocks.filter(|block| !matches!(block.how, How::Run { .. })) {
                for one in block.commands() {
                    let words: Vec<&str> = one.command.split_whitespace().collect();
                    let Some(at) = words.iter().position(|word| ["ringfort", "ringfort-agent"].contains(word)) else {
                        continue;
                    };
                    // What follows may be the name of a package, or a path in a container.
                    let is_command = at == 0 || words[at - 1] == "gateway";
                    let line: Vec<&str> = words[at..].iter().copied().take_while(|&word| word != "|").collect();
                    let read = match words[at] {
                        "ringfort" => Cli::read(line).err(),
                        _ => ringfort_agent::cli::Cli::try_parse_from(line).err(),
                    };
                    if is_command && let Some(error) = read {
                        let prints = error.exit_code() == 0;
                        assert!(prints, "docs/src/{}:{}: {error}", page.file, one.line);
                    }
                    looked_at += usize::from(is_command);
                }
            }
        }
        assert!(looked_at >= 9, "{looked_at}");
    }

    /// Where a page speaks of an option of the daemon, there is one.
    #[test]
    fn options_that_are_named_are_there() {
        let command = Cli::command();
        let options: Vec<String> =
            command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
        let text = page("configuration.md").unwrap().text.replace('\n', " ");
        let named: Vec<&str> =
            text.split("Option `").skip(1).filter_map(|rest| rest.split(['`', ' ']).next()).collect();
        assert!(named.len() >= 8, "{named:?}");
        for name in named {
            assert!(options.iter().any(|option| option == name), "there is no option {name}");
        }
    }
}
