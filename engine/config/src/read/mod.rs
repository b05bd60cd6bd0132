//! From files to a [`Config`], or to all that is wrong with them.
//!
//! ```text
//!   load ─► file ─► line by line ─► Open: the section that the lines stand in ─► close ─► Config
//!            ▲        │ Include
//!            └────────┘
//! ```

mod interface;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::PublicKey;
use ringfort_core::suite::Suite;

use super::config::Config;
use super::cursor::{self, Line, Parts};
use super::files::Files;
use super::mistake::{Mistakes, Place, Problem, Warning};
use super::setting::{Entry, INCLUDE, Owner, Section, Setting};
use super::{FILES_MAX, INCLUDE_DEPTH_MAX, LEN_MAX};
use peer::OpenPeer;

/// What is done about a `PrivateKeyFile` that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFiles {
    /// It is a mistake.
    Needed,
    /// It is a warning: who checks a file need not be who may read the key.
    IfReadable,
}

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What only looks wrong.
    pub warnings: Vec<Warning>,
    /// All files that it came from, the first one first. Files of keys are not among them.
    pub files: Vec<PathBuf>,
    /// Directories in which includes look for files, whether there are any or not.
    pub directories: Vec<PathBuf>,
    /// The first setting of `wg` or `wg-quick` other than `PublicKey`.
    first_of_wg: Option<Place>,
}

impl Loaded {
    /// The same for who only wants the settings that need no key, if the file has none.
    ///
    /// # Errors
    /// [`Problem::NeedsKey`]: there are other settings, and they would be ignored.
    pub fn key_or_settings_only(self) -> Result<Self, Mistakes> {
        match &self.first_of_wg {
            Some(place) if !self.config.has_key() => Err(Mistakes::one(place.clone(), Problem::NeedsKey)),
            _ => Ok(self),
        }
    }
}

/// Reads the file at `path` and all that it includes.
///
/// # Errors
/// All that is wrong with them.
pub fn load(path: &Path, files: &dyn Files, keys: KeyFiles) -> Result<Loaded, Mistakes> {
    let mut reader = Reader::new(files, keys);
    reader.file(path, None);
    reader.finish()
}

/// The state of reading.
struct Reader<'a> {
    files: &'a dyn Files,
    keys: KeyFiles,
    config: Config,
    mistakes: Mistakes,
    warnings: Vec<Warning>,
    /// Those that were read.
    read: Vec<PathBuf>,
    /// Where includes have looked.
    directories: Vec<PathBuf>,
    /// Those that are being read, each included by the one before.
    open_files: Vec<PathBuf>,
    /// In bytes, of all files.
    len: usize,
    section: Open,
    has_interface: bool,
    /// Where each peer's section begins, and its position in the configuration.
    peers: HashMap<PublicKey, usize>,
    peer_places: Vec<Place>,
    names: HashMap<String, usize>,
    prefixes: HashMap<Prefix, usize>,
    first_of_wg: Option<Place>,
}

/// The section that a line stands in.
enum Open {
    None,
    /// A header that is none. The first setting may tell which section is meant.
    Unknown,
    Interface(Seen),
    Peer(OpenPeer),
}

/// Which settings of a section were there, as a set of bits.
#[derive(Clone, Copy, Default)]
struct Seen(u64);

const _: () = assert!((Setting::Include as u32) < u64::BITS, "the last of the settings has a bit");

impl Seen {
    fn note(&mut self, entry: &Entry) -> Result<(), Problem> {
        let bit = 1_u64 << entry.setting as u32;
        let twice = self.0 & bit != 0 && !entry.repeats;
        self.0 |= bit;
        if twice { Err(Problem::Twice(entry.name)) } else { Ok(()) }
    }

    fn has(self, setting: Setting) -> bool {
        self.0 & 1_u64 << setting as u32 != 0
    }
}

/// A line with its place.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a Arc<Path>,
    line: usize,
    text: &'a str,
}

impl At<'_> {
    /// Of a byte of the line.
    fn place(&self, at: usize) -> Place {
        Place { file: self.file.clone(), line: self.line, column: cursor::column(self.text, at) }
    }
}

impl<'a> Reader<'a> {
    fn new(files: &'a dyn Files, keys: KeyFiles) -> Self {
        Self {
            files,
            keys,
            config: Config::default(),
            mistakes: Mistakes::default(),
            warnings: Vec::new(),
            read: Vec::new(),
            directories: Vec::new(),
            open_files: Vec::new(),
            len: 0,
            section: Open::None,
            has_interface: false,
            peers: HashMap::new(),
            peer_places: Vec::new(),
            names: HashMap::new(),
            prefixes: HashMap::new(),
            first_of_wg: None,
        }
    }

    fn finish(self) -> Result<Loaded, Mistakes> {
        if self.mistakes.count() > 0 {
            return Err(self.mistakes);
        }
        let own = self.own_peer();
        let Self { config, mut warnings, read: files, directories, first_of_wg, .. } = self;
        warnings.extend(own.map(|place| Warning { place, problem: Problem::OwnKey }));
        Ok(Loaded { config, warnings, files, directories, first_of_wg })
    }

    /// Where the peer with the interface's own key is.
    fn own_peer(&self) -> Option<Place> {
        let position = *self.peers.get(&self.config.own_key()?)?;
        self.peer_places.get(position).cloned()
    }

    /// Reads a file from its first line to its last. `included` is where an include names it.
    fn file(&mut self, path: &Path, included: Option<&Place>) {
        let file: Arc<Path> = path.into();
        let place = || included.cloned().unwrap_or_else(|| Place::file(file.clone()));
        let identity = self.files.identity(path);
        let problem = if self.open_files.contains(&identity) {
            Some(Problem::IncludeCycle)
        } else if self.open_files.len() > INCLUDE_DEPTH_MAX {
            Some(Problem::IncludeDepth)
        } else if self.read.len() == FILES_MAX {
            Some(Problem::TooManyFiles)
        } else {
            None
        };
        if let Some(problem) = problem {
            return self.mistakes.push(place(), problem);
        }
        let content = match self.files.read(path, LEN_MAX - self.len) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                return self.mistakes.push(place(), Problem::TooLong);
            }
            Err(error) => {
                let problem = match included {
                    Some(_) => Problem::Included { path: path.to_owned(), error: error.to_string() },
                    None => error.into(),
                };
                return self.mistakes.push(place(), problem);
            }
        };
        self.len += content.bytes.len();
        self.read.push(path.to_owned());
        let text = match std::str::from_utf8(&content.bytes) {
            Ok(text) => cursor::split_mark(text).1,
            Err(error) => {
                return self.mistakes.push(place_of(&content.bytes, error.valid_up_to(), file), Problem::Encoding);
            }
        };
        self.open_files.push(identity);
        let outer = std::mem::replace(&mut self.section, Open::None);
        let mut holds_key = false;
        for (line, text) in (1..).zip(text.lines()) {
            holds_key |= self.line(At { file: &file, line, text });
        }
        self.close();
        self.section = outer;
        self.open_files.pop();
        if holds_key && content.mode & 0o007 != 0 {
            let place = Place::file(file);
            self.warnings.push(Warning { place, problem: Problem::Exposed { mode: content.mode } });
        }
    }

    /// True: the line has a secret.
    fn line(&mut self, at: At<'_>) -> bool {
        match cursor::line(at.text) {
            Line::Nothing => {}
            Line::Unknown { at: start } => self.mistakes.push(at.place(start), Problem::NotASetting),
            Line::Section { at: start, section } => self.open(at, start, section),
            Line::Setting(parts) => return self.setting(at, parts),
        }
        false
    }

    fn open(&mut self, at: At<'_>, start: usize, section: Option<Section>) {
        self.close();
        self.section = match section {
            Some(Section::Interface) => {
                if std::mem::replace(&mut self.has_interface, true) {
                    self.mistakes.push(at.place(start), Problem::SecondInterface);
                }
                Open::Interface(Seen::default())
            }
            Some(Section::Peer) => Open::Peer(OpenPeer::new(at.place(start))),
            Some(Section::None) | None => {
                let meant = Section::meant(at.text[start..].trim_end());
                let nearest = meant.map(Section::header);
                self.mistakes.push(at.place(start), Problem::UnknownSection { nearest });
                // What stands in it is read, so its mistakes are found as well.
                match meant {
                    Some(Section::Interface) => Open::Interface(Seen::default()),
                    Some(_) => Open::Peer(OpenPeer::new(at.place(start))),
                    None => Open::Unknown,
                }
            }
        };
    }

    /// In a section without a name, the first setting that belongs somewhere says which one it is.
    fn guess_section(&mut self, at: At<'_>, parts: &Parts<'_>) {
        if matches!(self.section, Open::Unknown) {
            self.section = match Section::of(parts.name) {
                Some(Section::Interface) => Open::Interface(Seen::default()),
                Some(_) => Open::Peer(OpenPeer::guessed(at.place(parts.name_at))),
                None => Open::Unknown,
            };
        }
    }

    /// The section has ended.
    fn close(&mut self) {
        match std::mem::replace(&mut self.section, Open::None) {
            Open::Peer(peer) => self.close_peer(peer),
            Open::None | Open::Unknown | Open::Interface(_) => {}
        }
    }

    fn setting(&mut self, at: At<'_>, parts: Parts<'_>) -> bool {
        self.guess_section(at, &parts);
        let entry = match self.entry(&parts) {
            Ok(entry) => entry,
            Err(problem) => {
                self.mistakes.push(at.place(parts.name_at), problem);
                return false;
            }
        };
        let is_of_wg = entry.owner == Owner::Wg && entry.setting != Setting::PublicKey;
        if is_of_wg && self.first_of_wg.is_none() {
            self.first_of_wg = Some(at.place(parts.name_at));
        }
        let may_be_empty = entry.setting == Setting::AllowedIps;
        if parts.value.is_empty() && !may_be_empty {
            self.mistakes.push(at.place(parts.name_at), Problem::Empty(entry.name));
            return false;
        }
        if entry.setting == Setting::Include {
            self.include(at, &parts);
            return false;
        }
        // Taken out, so the value can be stored while a mistake is noted.
        let mut section = std::mem::replace(&mut self.section, Open::None);
        match &mut section {
            Open::None | Open::Unknown => {}
            Open::Interface(seen) => self.interface_setting(at, &parts, entry, seen),
            Open::Peer(peer) => self.peer_setting(at, &parts, entry, peer),
        }
        self.section = section;
        matches!(entry.setting, Setting::PrivateKey | Setting::PresharedKey)
    }

    /// What a name means where it stands.
    fn entry(&self, parts: &Parts<'_>) -> Result<&'static Entry, Problem> {
        let section = match self.section {
            Open::None => Section::None,
            Open::Unknown => {
                let nearest = Section::Interface.nearest(parts.name).or_else(|| Section::Peer.nearest(parts.name));
                return match parts.name.eq_ignore_ascii_case(INCLUDE.name) {
                    true => Ok(&INCLUDE),
                    false => Err(Problem::Unknown { section: "any section", nearest }),
                };
            }
            Open::Interface(_) => Section::Interface,
            Open::Peer(_) => Section::Peer,
        };
        if parts.name.eq_ignore_ascii_case(INCLUDE.name) {
            return Ok(&INCLUDE);
        }
        if section == Section::None {
            return Err(Problem::NoSection);
        }
        let Some(entry) = section.find(parts.name) else {
            return Err(match Section::of(parts.name) {
                Some(belongs) => Problem::WrongSection { section: section.header(), belongs: belongs.header() },
                None => Problem::Unknown { section: section.header(), nearest: section.nearest(parts.name) },
            });
        };
        if parts.is_marked && entry.owner == Owner::Wg { Err(Problem::Hidden) } else { Ok(entry) }
    }

    /// Reads other files in place of this line. Sections do not reach across the border, in neither direction.
    fn include(&mut self, at: At<'_>, parts: &Parts<'_>) {
        let directory = at.file.parent().unwrap_or(Path::new(""));
        let place = at.place(parts.value_at);
        self.directories.push(directory.join(fixed_part(parts.value)));
        match self.files.matching(directory, parts.value) {
            Ok(paths) => paths.iter().for_each(|path| self.file(path, Some(&place))),
            Err(problem) => self.mistakes.push(place, problem),
        }
    }

    fn refuse(&mut self, at: At<'_>, position: usize, problem: Problem) {
        self.mistakes.push(at.place(position), problem);
    }

    /// The value, or `None` after noting what is wrong with it.
    fn accept<T>(&mut self, at: At<'_>, parts: &Parts<'_>, value: Result<T, Problem>) -> Option<T> {
        value.map_err(|problem| self.refuse(at, parts.value_at, problem)).ok()
    }

    fn suite(&mut self, at: At<'_>, parts: &Parts<'_>) -> Option<Suite> {
        let suite = parts.value.parse().map_err(Problem::Suite);
        self.accept(at, parts, suite)
    }
}

/// The directory of a pattern, as far as it has no wildcards.
fn fixed_part(pattern: &str) -> &Path {
    let literal = &pattern[..pattern.find(['*', '?', '[']).unwrap_or(pattern.len())];
    Path::new(literal.rfind('/').map_or("", |slash| &literal[..=slash]))
}

/// Where a byte of a file stands that is no text.
pub(super) fn place_of(bytes: &[u8], at: usize, file: Arc<Path>) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().map_or(0, |line| line.chars().count());
    Place { file, line, column }
}
