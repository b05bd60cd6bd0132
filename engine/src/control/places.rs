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

/// What the operator should know of them, if they are fenced in: where the fence is wide, and what to do about it.
#[must_use]
pub fn warnings(places: &Places, file: Option<&ConfigFile>) -> Vec<String> {
    const REMEDY: &str =
        "give the files of --log, --endpoints and SaveConfig a directory of their own, such as /var/log/ringfort";
    let shared = places
        .shared()
        .into_iter()
        .map(|path| format!("the sandbox lets the daemon write to all that is below {}: {REMEDY}", path.display()));
    let hooked = file.filter(|file| file.is_gateway() && !file.config().interface.save_config);
    let is_open = |path: &Path| places.change.iter().any(|directory| path.starts_with(directory));
    let open = hooked.filter(|file| is_open(&file.path) || file.path.canonicalize().is_ok_and(|path| is_open(&path)));
    let open = open.map(|file| {
        format!("the sandbox lets the daemon write to {}, whose commands run as root: {REMEDY}", file.path.display())
    });
    shared.chain(open).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn places(log: &str) -> Places {
        let mut places = Places::default();
        places.change_beside(Path::new("/run/wireguard/wg0.sock"));
        places.change_beside(Path::new(log));
        places
    }

    /// A rule of Landlock holds for all that is below.
    #[test]
    fn a_fence_that_holds_nothing_off_is_told() {
        for (log, directory) in
            [("/wg0.log", "/"), ("/etc/wg0.log", "/etc"), ("/run/wg0.log", "/run"), ("/var/log/wg0.log", "/var/log")]
        {
            let warnings = warnings(&places(log), None);
            assert!(warnings.len() == 1 && warnings[0].contains(&format!("below {directory}: give")), "{warnings:?}");
        }
        assert_eq!(warnings(&places("/var/log/ringfort/wg0.log"), None), Vec::<String>::new());
    }

    #[test]
    fn a_log_beside_the_configuration_is_told() {
        let directory = std::env::temp_dir().join(format!("ringfort-places-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("wg0.conf");
        let told = |text: &str, log: &Path| {
            std::fs::write(&path, format!("[Interface]\nPrivateKey = {KEY}\n{text}")).unwrap();
            warnings(&places(log.to_str().unwrap()), Some(&ConfigFile::of_gateway(&path).unwrap()))
        };
        let beside = directory.join("wg0.log");
        let warnings = told("", &beside);
        assert!(warnings.len() == 1 && warnings[0].contains("commands run as root"), "{warnings:?}");
        assert!(told("", &directory.join("logs/wg0.log")).is_empty());
        assert!(told("SaveConfig = true", &beside).is_empty(), "then it is meant so");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
}
