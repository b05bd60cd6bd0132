//! A file of its own. Whoever moves it away (`logrotate`) sends SIGUSR1 to have it opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Line, Place};
use crate::control::inherited::descriptor_of;

/// Readable by the owner and the group, as log files are.
const MODE: u32 = 0o640;

/// The file.
pub(in super::super) struct LogFile {
    path: PathBuf,
    file: File,
    interface: String,
}

impl LogFile {
    /// Appends to the file at `path`, or makes it.
    ///
    /// # Errors
    /// The system's.
    pub(in super::super) fn open(path: &Path, interface: &str) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, interface: interface.to_owned() })
    }
}

impl Place for LogFile {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.file.write_all(line.dated(&self.interface).as_bytes())
    }

    fn rename(&mut self, interface: &str) {
        interface.clone_into(&mut self.interface);
    }

    fn reopen(&mut self) -> io::Result<()> {
        // By now the number may be that of something else.
        if descriptor_of(&self.path).is_some() {
            return Ok(());
        }
        self.file = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe without a reader would make us wait.
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use log::Level;

    use super::super::datagrams::tests::path;
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_made_again_when_told() {
        let (now, before) = (path("file"), path("file.1"));
        let line = |text: &str| Line::now(Level::Info, text.to_owned());
        let mut file = LogFile::open(&now, "wg0").unwrap();
        file.write(&line("one")).unwrap();
        fs::rename(&now, &before).unwrap();
        file.write(&line("two")).unwrap();
        file.reopen().unwrap();
        file.write(&line("three")).unwrap();
        let texts = |path| fs::read_to_string(path).unwrap().replace(" INFO  wg0: ", "|");
        let texts =
            |path| texts(path).lines().map(|line| line.split_once('|').unwrap().1.to_owned()).collect::<Vec<_>>();
        assert_eq!((texts(&before), texts(&now)), (vec!["one".into(), "two".into()], vec!["three".to_owned()]));
        fs::remove_file(&before).unwrap();
        // It goes on where it is if there is no other place.
        fs::remove_file(&now).unwrap();
        fs::create_dir(&now).unwrap();
        file.reopen().unwrap_err();
        file.write(&line("four")).unwrap();
        fs::remove_dir(&now).unwrap();
    }
}
