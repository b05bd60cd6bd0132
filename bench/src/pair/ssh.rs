//! How one machine reads the other's file of endpoints: by SSH, with a server and keys of our own; or, where there is
//! no `sshd`, by a plain copy.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfort_testbed::command::{run, write_program};
use ringfort_testbed::daemon::{find_in_path, peers_directory};
use ringfort_testbed::janitor::Job;
use ringfort_testbed::{Context, Namespace, Result};

use super::network::addresses;
use super::place::{Place, Process};

/// Where Debian's `sshd` has its empty directory.
const EMPTY_DIRECTORY: &str = "/run/sshd";

/// See the module.
#[derive(Debug)]
pub struct Ssh {
    sshd: Option<PathBuf>,
    empty: Option<Job>,
}

impl Ssh {
    /// Looks for the programs, and makes keys and configurations for both machines, whose tunnels have these names.
    ///
    /// # Errors
    /// The system's.
    pub fn set_up(place: &Place, interfaces: [&str; 2]) -> Result<Self> {
        let of_peers = peers_directory().join("bin");
        let find = |name: &str| find_in_path(Path::new(name), &of_peers);
        let sshd = find("sshd").filter(|_| find("ssh").is_some() && find("ssh-keygen").is_some());
        if sshd.is_none() {
            for number in 0..2 {
                write_copy(place, number, interfaces[1 - number])?;
            }
            return Ok(Self { sshd, empty: None });
        }
        let key = |name: &str| -> Result<String> {
            let path = place.path.join(name);
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path))?;
            let public = path.with_extension("pub");
            fs::read_to_string(&public).context(public.display())
        };
        let (host, client) = (key("host")?, key("client")?);
        write(&place.path.join("known_hosts"), &known_hosts(&host))?;
        // A container may have a locked root, and a machine without the package has no user for sshd.
        write(&place.path.join("passwd"), "root:x:0:0:root:/root:/bin/sh\nsshd:x:999:65534::/run/sshd:/bin/false\n")?;
        write(&place.path.join("shadow"), "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")?;
        for (number, interface) in interfaces.into_iter().enumerate() {
            let script = place.script(number);
            let directory = script.with_file_name("");
            let keys = format!("restrict,command=\"{} serve {interface}\" {client}", script.display());
            write(&directory.join("authorized_keys"), &keys)?;
            write(&directory.join("sshd_config"), &sshd_config(place, &directory, number))?;
        }
        let empty = if Path::new(EMPTY_DIRECTORY).exists() { None } else { Some(make_empty_directory()?) };
        Ok(Self { sshd, empty })
    }

    /// Whether it is SSH.
    pub const fn is_there(&self) -> bool {
        self.sshd.is_some()
    }

    /// The command in place of `ssh`, for the machine of this number.
    pub fn client(&self, place: &Place, number: usize) -> String {
        let root = place.path.display();
        match self.sshd {
            Some(_) => format!("ssh -F none -i {root}/client -o UserKnownHostsFile={root}/known_hosts"),
            None => copy_script(place, number).display().to_string(),
        }
    }

    /// Starts the server of a machine, whose files are there.
    ///
    /// # Errors
    /// The system's.
    pub fn serve(&self, namespace: &Namespace, directory: &Path) -> Result<Option<Process>> {
        let Some(sshd) = &self.sshd else { return Ok(None) };
        let root = directory.parent().unwrap_or(directory).display();
        let mut command = namespace.command("unshare");
        let script = format!(
            "mount --bind {root}/passwd /etc/passwd && mount --bind {root}/shadow /etc/shadow && \
             exec {} -D -e -f {}/sshd_config",
            sshd.display(),
            directory.display()
        );
        command.args(["--mount", "/bin/sh", "-c", &script]);
        Process::start(command, &directory.join("sshd.log")).map(Some)
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        if self.empty.take().is_some() {
            let _ = fs::remove_dir(EMPTY_DIRECTORY);
        }
    }
}

fn sshd_config(place: &Place, directory: &Path, number: usize) -> String {
    format!(
        "ListenAddress {}\nHostKey {}/host\nAuthorizedKeysFile {}/authorized_keys\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin forced-commands-only\nPasswordAuthentication no\nPrintMotd no\n",
        addresses(number)[1],
        place.path.display(),
        directory.display()
    )
}

fn known_hosts(host_key: &str) -> String {
    (0..2).map(|number| format!("{} {}\n", addresses(number)[1], host_key.trim_end())).collect()
}

fn copy_script(place: &Place, number: usize) -> PathBuf {
    place.script(number).with_file_name("copy")
}

/// What takes the place of `ssh`: it runs the other machine's command here.
fn write_copy(place: &Place, number: usize, others_interface: &str) -> Result<()> {
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" = -o ]; do shift 2; done\nshift\n\
         SSH_ORIGINAL_COMMAND=\"$*\" exec '{}' serve {others_interface}\n",
        place.script(1 - number).display()
    );
    write_program(&text, &copy_script(place, number))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .context(path.display())
}

fn make_empty_directory() -> Result<Job> {
    let job = Job::removal(Path::new(EMPTY_DIRECTORY))?;
    fs::DirBuilder::new().mode(0o755).create(EMPTY_DIRECTORY).context(EMPTY_DIRECTORY)?;
    Ok(job)
}
