//! The section `[Interface]`.

use std::path::{Path, PathBuf};

use ringfort_core::node::NodeError;
use udp_endpoint::NotBindable;

use super::{At, KeyFiles, Reader, Seen};
use crate::cursor::{self, Parts};
use crate::files::Content;
use crate::mistake::{Problem, Warning};
use crate::secret::SecretKey;
use crate::setting::{Entry, Setting};
use crate::value;

/// Longest key file, in bytes: a key, and blanks around it.
const KEY_FILE_LEN_MAX: usize = 1024;
/// What the beginning of a key file's path may be.
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";

impl Reader<'_> {
    pub(super) fn interface_setting(&mut self, at: At<'_>, parts: &Parts<'_>, entry: &Entry, seen: &mut Seen) {
        if let Err(problem) = seen.note(entry) {
            return self.refuse(at, parts.name_at, problem);
        }
        if seen.has(Setting::PrivateKey)
            && seen.has(Setting::PrivateKeyFile)
            && matches!(entry.setting, Setting::PrivateKey | Setting::PrivateKeyFile)
        {
            return self.refuse(at, parts.name_at, Problem::TwoKeys);
        }
        let text = parts.value;
        match entry.setting {
            Setting::PrivateKey => {
                let key = SecretKey::from_base64(text).ok_or(Problem::Key(entry.name)).and_then(not_zero);
                self.config.interface.private_key = self.accept(at, parts, key);
            }
            Setting::PrivateKeyFile => self.key_file(at, parts),
            Setting::ListenPort => {
                self.config.interface.listen_port = self.accept(at, parts, value::port(text).ok_or(Problem::Port));
            }
            Setting::FwMark => {
                self.config.interface.fwmark = self.accept(at, parts, value::fwmark(text).ok_or(Problem::FwMark));
            }
            Setting::CipherSuite => self.config.interface.cipher_suite = self.suite(at, parts),
            Setting::Address => {
                for (position, element) in value::elements(text) {
                    match value::address(element) {
                        Some(address) => self.config.interface.addresses.push(address),
                        None => self.refuse(at, parts.value_at + position, Problem::Address),
                    }
                }
            }
            Setting::Dns => {
                for (position, element) in value::elements(text) {
                    match value::dns(element) {
                        Ok(dns) => self.config.interface.dns.push(dns),
                        Err(problem) => self.refuse(at, parts.value_at + position, problem),
                    }
                }
            }
            Setting::Mtu => {
                self.config.interface.mtu = self.accept(at, parts, value::mtu(text).ok_or(Problem::Mtu));
            }
            Setting::Table => {
                let table = self.accept(at, parts, value::table(text).ok_or(Problem::Table));
                self.config.interface.table = table.unwrap_or_default();
            }
            Setting::SaveConfig => {
                let flag = self.accept(at, parts, value::flag(text).ok_or(Problem::Flag));
                self.config.interface.save_config = flag.unwrap_or_default();
            }
            setting => self.start_setting(at, parts, setting),
        }
    }

    /// Commands, and what counts at a start only.
    fn start_setting(&mut self, at: At<'_>, parts: &Parts<'_>, setting: Setting) {
        let text = parts.value;
        match setting {
            Setting::PreUp | Setting::PostUp | Setting::PreDown | Setting::PostDown => self.hook(at, parts, setting),
            Setting::HookTimeout => {
                let seconds = value::keepalive(text).ok_or(Problem::HookTimeout);
                self.config.interface.hook_timeout = self.accept(at, parts, seconds);
            }
            Setting::Workers => {
                let workers = value::port(text).and_then(|count| u8::try_from(count).ok()).filter(|&count| count > 0);
                self.config.interface.start.workers = self.accept(at, parts, workers.ok_or(Problem::Workers));
            }
            Setting::Cpus => {
                // `0-3, 6` is a list like all others here.
                let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                self.config.interface.start.cpus = self.accept(at, parts, start("CPUs", &compact));
            }
            Setting::BusyPoll => {
                self.config.interface.start.busy_poll = self.accept(at, parts, start("BusyPoll", text));
            }
            Setting::UdpGso => self.config.interface.start.udp_gso = self.accept(at, parts, start("UdpGso", text)),
            Setting::Overlays => {
                self.config.interface.start.overlays = self.accept(at, parts, start("Overlays", text));
            }
            Setting::Bind => {
                let bind = text.parse().map_err(|error: NotBindable| error.to_string());
                let bind = bind.map_err(|expected| Problem::Start { name: "Bind", expected });
                self.config.interface.start.bind = self.accept(at, parts, bind);
            }
            Setting::SocketBuffer => {
                self.config.interface.start.socket_buffer = self.accept(at, parts, start("SocketBuffer", text));
            }
            Setting::Memory => self.config.interface.start.memory = self.accept(at, parts, start("Memory", text)),
            Setting::Node => {
                let node = text.parse().map_err(|error: NodeError| error.to_string());
                let node = node.map_err(|expected| Problem::Start { name: "Node", expected });
                self.config.interface.start.node = self.accept(at, parts, node);
            }
            Setting::Passive => {
                let flag = self.accept(at, parts, value::flag(text).ok_or(Problem::Flag));
                self.config.interface.start.passive = flag;
            }
            Setting::Aead => {
                self.config.interface.start.aead = self.accept(at, parts, text.parse().map_err(|_| Problem::Aead));
            }
            Setting::LogLevel => {
                self.config.interface.start.log_level = self.accept(at, parts, start("LogLevel", text));
            }
            Setting::Metrics => {
                let addr = text.parse().map_err(|_| Problem::Metrics);
                self.config.interface.start.metrics = self.accept(at, parts, addr);
            }
            _ => {}
        }
    }

    fn hook(&mut self, at: At<'_>, parts: &Parts<'_>, setting: Setting) {
        let hooks = &mut self.config.interface.hooks;
        let commands = match setting {
            Setting::PreUp => &mut hooks.pre_up,
            Setting::PostUp => &mut hooks.post_up,
            Setting::PreDown => &mut hooks.pre_down,
            _ => &mut hooks.post_down,
        };
        commands.push(parts.value.to_owned());
        if let Some(hash) = cursor::hash_in_command(parts.value) {
            self.warnings.push(Warning { place: at.place(parts.value_at + hash), problem: Problem::CutCommand });
        }
    }

    fn key_file(&mut self, at: At<'_>, parts: &Parts<'_>) {
        let key = self.key_path(at, parts.value).and_then(|path| self.read_key(&path));
        self.config.interface.private_key_file = Some(PathBuf::from(parts.value));
        match key {
            Ok(key) => self.config.interface.private_key = Some(key),
            Err(problem @ (Problem::KeyFile { .. } | Problem::NoCredentials)) if self.keys == KeyFiles::IfReadable => {
                let problem = Problem::NotChecked(Box::new(problem));
                self.warnings.push(Warning { place: at.place(parts.value_at), problem });
            }
            Err(problem) => self.refuse(at, parts.value_at, problem),
        }
    }

    /// A name without a directory is that of a credential if there is one, else of a file beside this one.
    fn key_path(&self, at: At<'_>, text: &str) -> Result<PathBuf, Problem> {
        if let Some(rest) = text.strip_prefix(CREDENTIALS).and_then(|rest| rest.strip_prefix('/')) {
            return self.files.credentials().map(|directory| directory.join(rest)).ok_or(Problem::NoCredentials);
        }
        let credential = self.files.credentials().filter(|_| !text.contains('/')).map(|directory| directory.join(text));
        if let Some(path) = credential.filter(|path| self.files.read(path, KEY_FILE_LEN_MAX).is_ok()) {
            return Ok(path);
        }
        Ok(at.file.parent().unwrap_or(Path::new("")).join(text))
    }

    fn read_key(&mut self, path: &Path) -> Result<SecretKey, Problem> {
        let unreadable = |error: std::io::Error| Problem::KeyFile { error: error.to_string() };
        let Content { bytes, mode } = self.files.read(path, KEY_FILE_LEN_MAX).map_err(unreadable)?;
        if mode & 0o007 != 0 {
            let place = crate::mistake::Place::file(path);
            self.warnings.push(Warning { place, problem: Problem::Exposed { mode } });
        }
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        let key = text.and_then(SecretKey::from_base64).ok_or_else(|| Problem::NoKeyInFile(path.to_owned()))?;
        not_zero(key)
    }
}

fn not_zero(key: SecretKey) -> Result<SecretKey, Problem> {
    if key.is_zero() { Err(Problem::ZeroKey) } else { Ok(key) }
}

fn start<T: std::str::FromStr<Err = String>>(name: &'static str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|expected| Problem::Start { name, expected })
}
