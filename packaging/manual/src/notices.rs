//! The licences of everything that is linked into a program, with the texts that their authors ask to pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// How files with the text of a licence begin.
const NAMES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];

/// A crate of somebody else.
struct Crate {
    licence: String,
    repository: String,
    /// Each file that has the text of a licence.
    texts: Vec<String>,
}

/// One text for all crates of a program that are not ours, by name.
///
/// # Errors
/// Cargo's, or a crate that names no licence, or has no text of one.
pub fn notices(program: &str) -> io::Result<String> {
    let crates = crates(program)?;
    let mut all = format!("{program} contains these {} crates, each under its own licence.\n", crates.len());
    // Most have the same texts, so each text is there once.
    let mut by_text: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, one) in &crates {
        if one.licence.is_empty() {
            return Err(io::Error::other(format!("{name} names no licence")));
        }
        writeln!(all, "  {name}: {}", one.licence).expect("a string takes everything");
        for text in texts(name, &crates)? {
            by_text.entry(text).or_default().insert(name);
        }
    }
    for (text, names) in by_text {
        let names: Vec<_> = names.into_iter().collect();
        write!(all, "\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join(", ")).expect("a string takes everything");
    }
    Ok(all)
}

/// The texts of a crate's licence. One that comes without has that of another one of its repository.
fn texts<'a>(name: &str, crates: &'a BTreeMap<String, Crate>) -> io::Result<&'a [String]> {
    let one = &crates[name];
    let is_sister = |other: &&Crate| other.repository == one.repository && other.licence == one.licence;
    let sisters = crates.values().filter(|_| !one.repository.is_empty()).filter(is_sister);
    std::iter::once(one)
        .chain(sisters)
        .map(|one| one.texts.as_slice())
        .find(|texts| !texts.is_empty())
        .ok_or_else(|| io::Error::other(format!("{name} comes without the text of its licence")))
}

/// By name and version.
fn crates(program: &str) -> io::Result<BTreeMap<String, Crate>> {
    let linked = linked(program)?;
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"])?)?;
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} v{}", text("name"), text("version"));
        // A package without a source is one of this repository.
        if linked.contains(&name) && !package["source"].is_null() {
            let manifest = text("manifest_path");
            let texts = licence_texts(Path::new(&manifest).parent().expect("a manifest is in a directory"))?;
            crates.insert(name, Crate { licence: text("license"), repository: text("repository"), texts });
        }
    }
    Ok(crates)
}

/// Names and versions of what is linked into the program.
fn linked(program: &str) -> io::Result<BTreeSet<String>> {
    let tree = ["tree", "--locked", "--package", program, "--edges", "normal", "--prefix", "none"];
    let lines = cargo(&tree)?;
    let names = lines.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    Ok(names.filter(|name| !name.is_empty()).collect())
}

fn licence_texts(directory: &Path) -> io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|prefix| name.starts_with(prefix)) {
            texts.push(String::from_utf8_lossy(&fs::read(&path)?).trim().to_owned());
        }
    }
    Ok(texts)
}

fn cargo(args: &[&str]) -> io::Result<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
