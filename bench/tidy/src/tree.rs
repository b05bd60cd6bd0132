//! The files of the repository.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A file that Git tracks, or would track.
pub struct File {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// The content, if it is text.
    pub text: Option<String>,
}

impl File {
    /// Whether the name ends in `.` and `extension`.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Rust source.
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    /// Markdown.
    pub fn is_markdown(&self) -> bool {
        self.has_extension("md")
    }

    /// A shell script: by its name, or by its first line.
    pub fn is_script(&self) -> bool {
        self.has_extension("sh") || self.text.as_ref().is_some_and(|text| text.starts_with("#!/bin/bash"))
    }

    /// Rust source of tests: a file in a directory `tests`, or one whose name ends in `tests`.
    pub fn is_test(&self) -> bool {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        self.is_rust() && (name.ends_with("tests.rs") || parts.contains(&"tests"))
    }

    /// Numbered lines, from 1. Nothing if the file is not text.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.iter().flat_map(|text| text.lines()).enumerate().map(|(at, line)| (at + 1, line))
    }
}

/// All files.
pub struct Tree {
    /// In the order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads what Git tracks below `root`, and what it would track: a new file is checked before it is committed.
    ///
    /// # Errors
    ///
    /// Git does not answer, or a file cannot be read.
    pub fn read(root: &Path) -> Result<Self, String> {
        let output = Command::new("git")
            // A checkout may belong to somebody else than who runs the tests.
            .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("git does not run ({error}): install it, the tidy test asks it for the files"))?;
        if !output.status.success() {
            return Err(format!(
                "git ls-files failed in {} ({}): run the tidy test in a Git checkout",
                root.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        let list = String::from_utf8(output.stdout).map_err(|error| format!("a file name is not UTF-8: {error}"))?;
        let paths: BTreeSet<&str> = list.split_terminator('\0').collect();
        // A file that was deleted but not yet committed is still on the list.
        let present = paths.into_iter().filter(|path| root.join(path).is_file());
        let files = present.map(|path| read(root, path)).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// Rust source.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

fn read(root: &Path, path: &str) -> Result<File, String> {
    let bytes = std::fs::read(root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    Ok(File { path: path.to_owned(), text })
}
