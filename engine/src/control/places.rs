//! Which paths a daemon needs once it serves, for the sandbox.

use std::fs::DirBuilder;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::sys::socket::{UnixAddr, getsockname};

use super::file::ConfigFile;
use super::inherited::{Inherited, descriptor_of, is_descriptor};
use super::logging::Target;
use super::server;
use crate::cli::Serve;
use crate::metrics;
use crate::sandbox::Places;

/// Those of a daemon of this command line, with this file.
#[must_use]
pub fn of(cli: &Serve, file: Option<&ConfigFile>, inherited: &Inherited) -> Places {
    let mut places = Places::default();
    places.change_beside(&server::socket_path(&cli.name));
    places.change_beside(&metrics::socket_path(&cli.name));
    let adopted = inherited.uapi.as_ref().and_then(|socket| getsockname::<UnixAddr>(socket.as_raw_fd()).ok());
    if let Some(path) = adopted.as_ref().and_then(UnixAddr::path) {
        places.change_beside(path);
    }
    if let Some(path) = cli.endpoints.path(&cli.name) {
        places.change_beside(&path);
    }
    if let Target::File(path) = &cli.log
        && descriptor_of(path).is_none()
    {
        places.change_beside(path);
        places.has_log = true;
    }
    for path in file.into_iter().flat_map(files_of).filter(|path| !is_descriptor(path)) {
        // What runs is written to the file when the gateway ends.
        if file.is_some_and(|file| file.config().interface.save_config) {
            places.change_beside(&path);
        }
        places.read_beside(&path);
    }
    // Today they may be empty. A pattern that begins with a wildcard opens nothing but what it has found.
    let directories = file.into_iter().flat_map(|file| &file.loaded.directories);
    places.read.extend(directories.filter(|path| path.parent().is_some()).cloned());
    places
}

/// Makes the directories that all gateways have their sockets in, for the user of this process alone. Root does so
/// before it becomes another user: whose they are decides who may serve in them.
pub fn make_shared(interface: &str) {
    for path in [server::socket_path(interface), metrics::socket_path(interface)] {
        if let Some(directory) = path.parent() {
            // If it cannot be made, whoever wants to make a socket there says so.
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        }
    }
}

/// The file itself, what it includes, and that of the key.
fn files_of(file: &ConfigFile) -> Vec<PathBuf> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join("any"));
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    let key = file.config().interface.private_key_file.as_ref().map(|path| directory.join(path));
    let included = file.loaded.files.iter().cloned();
    included.chain([file.path.clone()]).chain(key).chain(credentials).collect()
}
