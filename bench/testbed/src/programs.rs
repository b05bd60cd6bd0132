//! Where the programs are that run in the namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program of this name in `first`, or else in `PATH`. A path with a slash is only checked.
pub fn find_in_path(name: &Path, first: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.components().count() > 1 {
        return Some(name.to_owned()).filter(is_program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(first.to_owned()).chain(std::env::split_paths(&path));
    // Of a user who became root without root's PATH, too.
    let directories = directories.chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(is_program)
}

/// Where `ringfort-bench fetch-peers` installs: `$RINGFORT_PEERS`, or `ringfort/peers` in the user's cache.
pub fn peers_directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("RINGFORT_PEERS").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME")
            .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".cache"));
        cache.join("ringfort/peers")
    })
}
