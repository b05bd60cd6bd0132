//! The licences of everything that is linked into the program, with the texts that their authors ask to pass on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// How files with the text of a licence begin.
const NAMES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];

/// One text for all crates of the gateway that are not ours, by name.
///
/// # Errors
/// Cargo's, or a crate that names no licence, or has no text of one.
pub fn notices() -> io::Result<String> {
    let linked = linked()?;
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"])?)?;
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} v{}", text("name"), text("version"));
        // A package without a source is one of this repository.
        if linked.contains(&name) && !package["source"].is_null() {
            crates.insert(name, (text("license"), text("manifest_path")));
        }
    }
    let mut all = format!("Ringfort contains these {} crates, each under its own licence.\n", crates.len());
    // Most have the same texts, so each text is there once.
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, (licence, manifest)) in &crates {
        if licence.is_empty() {
            return Err(io::Error::other(format!("{name} names no licence")));
        }
        writeln!(all, "  {name}: {licence}").expect("a string takes everything");
        for text in licence_texts(Path::new(manifest).parent().expect("a manifest is in a directory"))? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, names) in texts {
        let names: Vec<_> = names.into_iter().collect();
        write!(all, "\n{}\n{}\n\n{text}\n", "=".repeat(80), names.join(", ")).expect("a string takes everything");
    }
    Ok(all)
}

/// Names and versions of what is linked into the gateway.
fn linked() -> io::Result<BTreeSet<String>> {
    let tree = ["tree", "--locked", "--package", "ringfort", "--edges", "normal", "--prefix", "none"];
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
