//! What runs, written to the file: changed lines change, and everything else stays.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::net::if_::if_indextoname;
use nix::unistd::{Gid, Uid, fchown};
use ringfort_config::{Endpoint, KeyFiles, Mistakes, Peer, SecretText, State, edit, load};

use super::{LaterDisk, Running, disk};

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It is wrong as it is, so nobody knows what to change.
    #[error("the file is wrong as it is, and not changed:\n{0}")]
    Wrong(#[from] Mistakes),
    /// Somebody has written to it since the gateway read it, and would lose that.
    #[error("{0} has changed since the gateway read it, and is not overwritten: ringfort reload first")]
    Changed(PathBuf),
    /// It cannot be written.
    #[error("cannot write {path}, which is as it was: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Makes the configuration at `path` say what runs. Returns the files that were written.
///
/// Each is replaced as a whole: whoever reads it meanwhile reads the old one or the new one, and after a crash one of
/// them is there.
///
/// Each keeps its owner and group, which `give` gives to the new one: see [`give`]. An address behind an interface gets
/// its name, and is left out if there is no such interface any more.
///
/// # Errors
/// [`SaveError`]. Files before the one that it names are written, those behind it are not.
pub fn save(
    path: &Path,
    mut state: State,
    give: impl Fn(&Path, &Path) -> io::Result<()>,
) -> Result<Vec<PathBuf>, SaveError> {
    for endpoint in state.peers.iter_mut().map(|peer| &mut peer.endpoint) {
        if let Some(Endpoint::Address(addr)) = *endpoint {
            *endpoint = Endpoint::lasting(addr, |index| if_indextoname(index).ok()?.into_string().ok());
        }
    }
    let mut written = Vec::new();
    for (path, text) in edit(path, &LaterDisk(disk()), &state)? {
        replace(&path, &text, &give).map_err(|source| SaveError::Write { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(written)
}

/// Gives the first file, which is about to replace the second one, its owner, group and permissions.
///
/// # Errors
/// The system's: `EPERM` for who may not give files away. And that the first one is no ordinary file.
pub fn give(new: &Path, old: &Path) -> io::Result<()> {
    let before = old.metadata()?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(new)?;
    let made = file.metadata()?;
    if !made.is_file() || made.nlink() != 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mode = Permissions::from_mode(before.mode() & 0o777);
    if (made.uid(), made.gid()) == (before.uid(), before.gid()) {
        return file.set_permissions(mode);
    }
    // The group comes first, then the permissions while the file is ours, then the owner: behind him, only CAP_FOWNER
    // could set them.
    fchown(&file, None, Some(Gid::from_raw(before.gid())))?;
    file.set_permissions(mode)?;
    fchown(&file, Some(Uid::from_raw(before.uid())), None)?;
    Ok(())
}

/// The beginning of the names that files have until they replace the one at this path.
#[must_use]
pub fn name_of_new(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Refuses a configuration of which a file was written since `read_at`, in nanoseconds since the Unix epoch.
///
/// # Errors
/// [`SaveError::Changed`] or [`SaveError::Wrong`].
pub fn refuse_changed(path: &Path, read_at: u64) -> Result<(), SaveError> {
    let modified = |path: &Path| {
        let meta = path.metadata().ok()?;
        u64::try_from(i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())).ok()
    };
    let files = load(path, &LaterDisk(disk()), KeyFiles::IfReadable)?.files;
    match files.into_iter().find(|file| modified(file).is_some_and(|modified| modified > read_at)) {
        Some(file) => Err(SaveError::Changed(file)),
        None => Ok(()),
    }
}

impl Running {
    /// As the file can say it. The mark is left out: that of a default route is nobody's setting.
    #[must_use]
    pub fn state(&self) -> State {
        let mut peers: Vec<Peer> = self
            .peers
            .iter()
            .map(|(key, running)| Peer {
                preshared_key: running.preshared_key.clone(),
                allowed_ips: running.allowed_ips.clone(),
                endpoint: running.endpoint.map(Endpoint::Address),
                persistent_keepalive: Some(running.persistent_keepalive),
                cipher_suite: self.suites.get(key).copied(),
                source: self.sources.get(key).copied(),
                ..Peer::new(*key)
            })
            .collect();
        peers.sort_by_key(|peer| peer.public_key);
        State { private_key: self.private_key.clone(), listen_port: Some(self.listen_port), fwmark: None, peers }
    }
}

/// Writes beside the file and renames. Owner and permissions stay as they are.
fn replace(path: &Path, text: &SecretText, give: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    // A link stays a link.
    let path = path.canonicalize()?;
    let before = path.metadata()?;
    let new = path.with_file_name(format!("{}{}", name_of_new(&path), std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let made = file.metadata()?;
        file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
        // Only if it is another: a service may be forbidden to ask for it.
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            give(&new, &path)?;
        }
        file.write_all(text.as_str().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        // So the new name is there after a crash as well.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use nix::net::if_::if_nametoindex;
    use ringfort_config::key_text;
    use ringfort_core::crypto::PublicKey;

    use super::*;
    use crate::control::file::RunningPeer;

    #[test]
    fn a_file_is_replaced_with_its_permissions() {
        let directory = std::env::temp_dir().join(format!("ringfort-save-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("wg0.conf");
        let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        std::fs::write(&path, format!("# ours\n[Interface]\nPrivateKey = {key}\nListenPort = 1\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = directory.join("link.conf");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let running =
            Running { private_key: ringfort_config::SecretKey::from_base64(key), listen_port: 7, ..Running::default() };
        assert_eq!(save(&link, running.state(), give).unwrap(), [link.as_path()]);
        let expected = format!("# ours\n[Interface]\nPrivateKey = {key}\nListenPort = 7\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(link.is_symlink() && save(&path, running.state(), give).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2, "nothing is left beside it");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// Interfaces have other numbers after the next start of the machine.
    #[test]
    fn interfaces_are_written_by_name() {
        let path = std::env::temp_dir().join(format!("ringfort-save-names-{}.conf", std::process::id()));
        let keys = [1, 2].map(|byte| PublicKey::new([byte; 32]));
        let text = |endpoints: [&str; 2]| {
            let peers = keys.iter().zip(endpoints);
            let peers =
                peers.map(|(key, endpoint)| format!("[Peer]\nPublicKey = {}\n{endpoint}", key_text::encode(key)));
            format!("[Interface]\n{}", peers.collect::<String>())
        };
        std::fs::write(&path, text(["", "Endpoint = 192.0.2.1:1\n"])).unwrap();
        let index = if_nametoindex("lo").expect("every namespace has it");
        let addrs = [index, i32::MAX as u32].map(|index| SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, index));
        let peer = |addr: SocketAddrV6| RunningPeer { endpoint: Some(addr.into()), ..RunningPeer::default() };
        let running = Running { peers: keys.into_iter().zip(addrs.map(peer)).collect(), ..Running::default() };
        save(&path, running.state(), give).unwrap();
        let expected = text(["Endpoint = [fe80::1%lo]:7\n", "Endpoint = 192.0.2.1:1\n"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "the second interface is gone");
        std::fs::remove_file(&path).unwrap();
    }
}
