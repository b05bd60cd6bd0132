//! Where files come from: the disk, or a table in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use zeroize::{Zeroize as _, Zeroizing};

use super::mistake::Problem;

/// What a file holds.
#[derive(Default)]
pub struct Content {
    /// Wiped when dropped: a key may be among them.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The permissions, as of `chmod`.
    pub mode: u32,
}

impl Content {
    /// Of a file that is open, whatever it is. More than `len_max` bytes are an error.
    ///
    /// # Errors
    /// The system's, or [`io::ErrorKind::FileTooLarge`].
    pub fn of(file: File, len_max: usize) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let len = usize::try_from(metadata.size()).unwrap_or(usize::MAX);
        if len > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = read_wiping(file, len, len_max)?;
        Ok(Self { bytes, mode: metadata.permissions().mode() & 0o7777 })
    }
}

/// The files that a configuration may name.
pub trait Files {
    /// Reads a file, of which more than `len_max` bytes are an error.
    ///
    /// # Errors
    /// The system's, or [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Content>;

    /// The files that `pattern` names, relative to `directory`, sorted. A pattern without wildcards names one file,
    /// which need not be there.
    ///
    /// # Errors
    /// [`Problem::Pattern`], or that a directory cannot be read.
    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem>;

    /// One name for each file, whatever ways lead to it.
    fn identity(&self, path: &Path) -> PathBuf;

    /// Where systemd has put the credentials of the service (`$CREDENTIALS_DIRECTORY`).
    fn credentials(&self) -> Option<&Path>;
}

/// The files of this machine.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Files for Disk {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Content> {
        Content::of(File::open(path)?, len_max)
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
        if !pattern.contains(['*', '?', '[']) {
            return Ok(vec![directory.join(pattern)]);
        }
        let whole = match Path::new(pattern).is_absolute() {
            true => pattern.to_owned(),
            false => Path::new(&Pattern::escape(&directory.to_string_lossy())).join(pattern).display().to_string(),
        };
        // What an editor or a package manager leaves behind begins with a dot, or ends in something else.
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let paths = glob::glob_with(&whole, options).map_err(|error| Problem::Pattern(error.msg.to_owned()))?;
        let paths: Result<Vec<PathBuf>, _> = paths.collect();
        let mut paths = paths.map_err(|error| Problem::Unreadable(error.to_string()))?;
        paths.retain(|path| !path.is_dir());
        paths.sort();
        Ok(paths)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    }

    fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }
}

/// Reads to the end without leaving copies behind: memory that is outgrown is wiped. A pipe has no length beforehand.
fn read_wiping(mut file: File, len: usize, len_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; len.saturating_add(1).min(len_max + 1)]);
    let mut filled = 0;
    loop {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * filled).max(4096).min(len_max + 1)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes.zeroize();
            bytes = larger;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Files in memory, for tests and the fuzz target.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Paths and what is there.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// The permissions of all of them.
    pub mode: u32,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

impl Memory {
    /// These files, which nobody else may read.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let files = files.into_iter().map(|(path, bytes)| (PathBuf::from(path), bytes.to_owned()));
        Self { files: files.collect(), mode: 0o600, credentials: None }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Content> {
        let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        if bytes.len() > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Content { bytes: Zeroizing::new(bytes.clone()), mode: self.mode })
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
        if !pattern.contains(['*', '?', '[']) {
            return Ok(vec![directory.join(pattern)]);
        }
        let pattern = Pattern::new(pattern).map_err(|error| Problem::Pattern(error.msg.to_owned()))?;
        let matches = |path: &&PathBuf| path.strip_prefix(directory).is_ok_and(|path| pattern.matches_path(path));
        Ok(self.files.keys().filter(matches).cloned().collect())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }
}
