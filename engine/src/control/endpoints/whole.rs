//! A file that is replaced as a whole: whoever reads it meanwhile, or after a crash, has the old one or the new one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Replaces a file as a whole. Only its owner may read it: it says who is where.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let temporary = directory.join(name_of_new(name, std::process::id()));
    let written = write_new(directory, &temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is there is of no use, and may fill a disk that is full.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes what processes have left beside this file that were killed while they wrote. To be called by the one that
/// serves. One that has just handed over may still be writing: then it ends without, and what it knew is known here.
pub(super) fn remove_leftovers(path: &Path) {
    let Some((directory, name)) = path.parent().zip(path.file_name()) else { return };
    let Ok(files) = fs::read_dir(directory) else { return };
    for file in files.flatten().filter(|file| is_of_new(name, &file.file_name())) {
        let _ = fs::remove_file(file.path());
    }
}

fn write_new(directory: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    // One that another process of the same number has left, perhaps with other permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let open = || File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(contents)?;
    file.sync_data()
}

/// The name of a file until it has that of the one that it replaces. Each process has its own: of two gateways of which
/// one goes on in the place of the other, both may be writing.
fn name_of_new(name: &OsStr, process: u32) -> OsString {
    OsString::from_vec([b".", name.as_bytes(), format!(".{process}.new").as_bytes()].concat())
}

fn is_of_new(name: &OsStr, file: &OsStr) -> bool {
    let rest = file.as_bytes().strip_prefix(b".").and_then(|file| file.strip_prefix(name.as_bytes()));
    let process = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".new"));
    process.is_some_and(|process| !process.is_empty() && process.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringfort-endpoints-{name}-{}", std::process::id()));
            // A run that was killed may have left it, and had the same number.
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_nobody_else_s() {
        let scratch = Scratch::new("replace");
        let path = scratch.0.join("below/wg0.endpoints");
        replace(&path, b"one").unwrap();
        // What somebody of our number has left behind who was killed while he wrote.
        fs::write(scratch.0.join("below").join(own_new()), "half of tw").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing lies beside it");
    }

    fn own_new() -> OsString {
        name_of_new(OsStr::new("wg0.endpoints"), std::process::id())
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let scratch = Scratch::new("link");
        fs::create_dir(&scratch.0).unwrap();
        let (path, other) = (scratch.0.join("wg0.endpoints"), scratch.0.join("other"));
        fs::write(&other, "precious").unwrap();
        for link in [path.clone(), scratch.0.join(own_new())] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        replace(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"precious".to_vec()));
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_left() {
        let scratch = Scratch::new("refused");
        fs::create_dir(&scratch.0).unwrap();
        let path = scratch.0.join("wg0.endpoints");
        // A directory has the name.
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
        assert!(replace(Path::new("/proc/self/ringfort/wg0.endpoints"), b"new").is_err());
    }
}
