//! The page of commands, of what command lines say of themselves.

use clap::{Arg, Command};

use super::paragraph::{item, paragraph, plain, sentence};
use crate::programs;

/// A section for each program, followed by those of its subcommands.
pub fn text() -> String {
    let mut sections = Vec::new();
    for program in programs() {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        sections.push(section(&program));
        sections.extend(program.get_subcommands().map(section));
    }
    sections.join("\n")
}

fn section(command: &Command) -> String {
    // A subcommand has the names of its parents before its own.
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut text = format!("## `{name}`\n\n");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text += &paragraph(&sentence(&plain(&about)));
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage:").lines().map(str::trim).collect();
    text += &format!("\n```text\n{}\n```\n", usage.join("\n"));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let (positionals, options): (Vec<_>, Vec<_>) =
        command.get_arguments().filter(shown).partition(|arg| arg.is_positional());
    let items: String = positionals.into_iter().chain(options).map(argument).collect();
    if !items.is_empty() {
        text += &format!("\n{items}");
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        text += &format!("\n```text\n{}\n```\n", after.to_string().trim_end());
    }
    text
}

fn argument(arg: &Arg) -> String {
    let mut names: Vec<String> = arg.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
    let takes_value = arg.get_action().takes_values();
    let value = if takes_value { value_name(arg) } else { String::new() };
    match arg.get_long() {
        Some(long) if arg.is_require_equals_set() => names.push(format!("`--{long}[={value}]`")),
        Some(long) if takes_value => names.push(format!("`--{long} {value}`")),
        Some(long) => names.push(format!("`--{long}`")),
        None => names.push(format!("`{value}`")),
    }
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{}: {}", names.join(", "), sentence(&plain(&with_default_apart(&help))));
    let values: Vec<_> = arg.get_possible_values().iter().map(|one| format!("`{}`", one.get_name())).collect();
    if takes_value && !values.is_empty() {
        text += &format!(" One of {}.", values.join(", "));
    }
    let defaults = arg.get_default_values();
    if takes_value && !arg.is_hide_default_value_set() && !defaults.is_empty() {
        let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        text += &format!(" Default: `{}`.", defaults.join(" "));
    }
    if arg.is_required_set() && !arg.is_positional() {
        text += " Required.";
    }
    if let Some(variable) = arg.get_env() {
        text += &format!(" Environment: `{}`.", variable.to_string_lossy());
    }
    item(&text)
}

/// A default that is said in words is a sentence of its own.
fn with_default_apart(help: &str) -> String {
    match help.split_once(" [default: ").and_then(|(help, rest)| Some((help, rest.strip_suffix(']')?))) {
        Some((help, default)) => format!("{} Default: {default}", sentence(help)),
        None => help.to_owned(),
    }
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
    // An empty default stands for nothing: without the value, `Cli::read` refuses.
    let is_needed = arg.is_required_set() || arg.get_default_values().iter().any(|value| value.is_empty());
    if arg.is_positional() && !is_needed { format!("[{name}]") } else { format!("<{name}>") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_there() {
        let text = text();
        for program in programs() {
            for sub in program.get_subcommands() {
                assert!(text.contains(&format!("## `{} {}`\n", program.get_name(), sub.get_name())), "{text}");
            }
        }
        for part in [
            "`-f`, `--foreground`: ",
            "`--stages[=<EVERY>]`: ",
            "Default: `100M`.",
            "Default: sleep at once.",
            "Exit status",
            "Environment: `RINGFORT_AGENT_TTL`.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
