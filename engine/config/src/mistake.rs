//! What is wrong with a file, and what only looks wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfort_core::constants::PEERS_MAX;
use ringfort_core::suite::UnknownSuite;

use super::key_text::NotAKey;
use super::{FILES_MAX, INCLUDE_DEPTH_MAX, LEN_MAX};

/// Mistakes that are kept. Others are counted: a file of garbage must not fill the memory.
const KEPT_MAX: usize = 1_000;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: Arc<Path>,
    /// From 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub problem: Problem,
}

/// All that is wrong with a configuration, in the order of its lines. Never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    kept: Vec<Mistake>,
    left_out: usize,
}

/// What only looks wrong: the configuration is used, and the operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub problem: Problem,
}

/// What is wrong. The text says what to do; it never repeats the text of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[rustfmt::skip] // One line for each, however long its text.
pub enum Problem {
    /// The system's error, as text.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A file that another one includes. The place is that of the line.
    #[error("the included file {path} cannot be read: {error}")]
    Included {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        error: String,
    },
    /// Some byte is no text.
    #[error("this is no UTF-8 text: save the file as UTF-8")]
    Encoding,
    /// A bracket, but no section that there is.
    #[error("no such section: {}", NearestSection(*.nearest))]
    UnknownSection {
        /// What was meant, perhaps.
        nearest: Option<&'static str>,
    },
    /// `[Interface]` again.
    #[error("a second [Interface]: put all its settings into one section")]
    SecondInterface,
    /// Neither a section nor a setting.
    #[error("neither a section nor a setting: write it as Name = value, or begin the line with # for a comment")]
    NotASetting,
    /// A setting before the first section.
    #[error("a setting before the first section: put [Interface] or [Peer] above it")]
    NoSection,
    /// A name that no section has.
    #[error("no such setting in {section}{}", Nearest(*.nearest))]
    Unknown {
        /// Where it stands.
        section: &'static str,
        /// What was meant, perhaps.
        nearest: Option<&'static str>,
    },
    /// A name that another section has.
    #[error("this setting belongs into {belongs}, not into {section}")]
    WrongSection {
        /// Where it stands.
        section: &'static str,
        /// Where it belongs.
        belongs: &'static str,
    },
    /// A setting that others understand behind our mark.
    #[error("wg-quick(8) would not see this: write the setting without #ringfort:")]
    Hidden,
    /// The same setting again in its section.
    #[error("{0} for the second time in one section: remove one of them")]
    Twice(&'static str),
    /// Nothing behind the equals sign.
    #[error("{0} has no value: give it one, or remove the line")]
    Empty(&'static str),
    /// PrivateKey or PresharedKey.
    #[error("{0} is not a key: that is 44 characters of base64, as wg genkey and wg genpsk print it")]
    Key(&'static str),
    /// A key of zeros.
    #[error("this key is all zeros: make one with wg genkey")]
    ZeroKey,
    /// PublicKey.
    #[error("this is {0}")]
    PublicKey(#[from] NotAKey),
    /// Both ways to give a key.
    #[error("PrivateKey and PrivateKeyFile: remove one of them")]
    TwoKeys,
    /// The file of `PrivateKeyFile`. Its name is not told: whoever writes the key itself there would read it in a log.
    #[error("the key file that this names cannot be read: {error}")]
    KeyFile {
        /// The system's error.
        error: String,
    },
    /// What is in it.
    #[error("the key file {0} has no key: that is 44 characters of base64 and nothing else, as wg genkey prints it")]
    NoKeyInFile(PathBuf),
    /// `$CREDENTIALS_DIRECTORY` without systemd.
    #[error("CREDENTIALS_DIRECTORY is not set: systemd sets it for a service with LoadCredential=")]
    NoCredentials,
    /// ListenPort.
    #[error("this is not a port: use a number from 0 to 65535; 0 lets the kernel choose")]
    Port,
    /// FwMark.
    #[error("this is not a mark: use a number such as 51820 or 0xca6c, or off")]
    FwMark,
    /// Address.
    #[error("this is not an address of an interface, such as 10.0.0.1/24 or fd00::1/64")]
    Address,
    /// DNS.
    #[error("this is neither the address of a DNS server nor a domain to search in")]
    Dns,
    /// MTU.
    #[error("this is not an MTU: use a number of bytes from 68 to 65535, or remove the line for the best one")]
    Mtu,
    /// Table.
    #[error("this is not a routing table: use auto, off, main, default, or the number of a table")]
    Table,
    /// SaveConfig, Passive.
    #[error("use true or false")]
    Flag,
    /// HookTimeout.
    #[error("use a number of seconds from 1 to 65535, or off: PreDown may take so long, and PostDown as well")]
    HookTimeout,
    /// Workers.
    #[error("use a number of workers from 1 to 255")]
    Workers,
    /// A value of a setting that the command line has, too.
    #[error("{name}: {expected}")]
    Start {
        /// The setting.
        name: &'static str,
        /// What it may be.
        expected: String,
    },
    /// Aead.
    #[error("Aead: one of auto, rustcrypto, aws-lc, train, train-avx2, vaes, vaes512")]
    Aead,
    /// Metrics.
    #[error("this is not an address to listen on, such as 127.0.0.1:9586 or [::1]:9586")]
    Metrics,
    /// CipherSuite.
    #[error("this is {0}")]
    Suite(#[from] UnknownSuite),
    /// AllowedIPs.
    #[error("this is not a prefix, such as 10.0.0.0/24 or fd00::/64")]
    AllowedIp,
    /// `+` or `-` before a prefix.
    #[error("a file says which prefixes a peer has: write them without + and -, which are for wg set")]
    IncrementalPrefix,
    /// Endpoint without its port.
    #[error("an endpoint is a host and a port, such as 192.0.2.1:51820, [2001:db8::1]:51820 or host.example:51820")]
    EndpointWithoutPort,
    /// Its port.
    #[error("the port of the endpoint is not a number from 1 to 65535")]
    EndpointPort,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets before its port: [2001:db8::1]:51820")]
    EndpointBrackets,
    /// Its host.
    #[error("the host of the endpoint is neither an address nor a host name (other alphabets are written as xn--)")]
    EndpointHost,
    /// PersistentKeepalive.
    #[error("use a number of seconds from 0 to 65535, or off")]
    Keepalive,
    /// Name.
    #[error("a name is at most 64 bytes of printable text")]
    Name,
    /// Source.
    #[error("this is not an address that a datagram can leave from, such as 192.0.2.7 or 2001:db8::7")]
    Source,
    /// A section without its key. The place is that of the section.
    #[error("this [Peer] has no PublicKey: add one, or remove the section")]
    NoPublicKey,
    /// Two sections for one key. The place is that of the second.
    #[error("this peer is in line {line} of {file} already: put all its settings into one section")]
    SamePeer {
        /// Of the first section.
        line: usize,
        /// Of the first section.
        file: Arc<Path>,
    },
    /// More peers than an interface can have.
    #[error("more than {PEERS_MAX} peers: an interface cannot have more")]
    TooManyPeers,
    /// A file includes itself, over others perhaps.
    #[error("this includes a file that includes this one: remove one of them")]
    IncludeCycle,
    /// Includes in includes.
    #[error("includes are nested more than {INCLUDE_DEPTH_MAX} deep")]
    IncludeDepth,
    /// Too many files.
    #[error("more than {FILES_MAX} files in one configuration")]
    TooManyFiles,
    /// Too much text.
    #[error("more than {} MiB in one configuration", LEN_MAX >> 20)]
    TooLong,
    /// A pattern that is none.
    #[error("this is not the name of a file, or a pattern such as peers.d/*.conf: {0}")]
    Pattern(String),
    /// No private key, but settings that need one. Said by who needs a key.
    #[error("this needs a PrivateKey or PrivateKeyFile in [Interface]: without, only CipherSuite and Source count")]
    NeedsKey,

    /// A warning: others may read a key.
    #[error("others may read this file, and it holds a key: chmod {:o} it", .mode & 0o700)]
    Exposed {
        /// Its mode.
        mode: u32,
    },
    /// A warning: two peers claim a prefix.
    #[error("{prefix} is in the [Peer] of line {line} as well: the last one has it")]
    PrefixMoved {
        /// Which one.
        prefix: ringfort_core::allowed_ips::Prefix,
        /// Of the section that lost it.
        line: usize,
    },
    /// A warning: a peer that is the gateway itself.
    #[error("this is the key of the interface itself, so this [Peer] is left out: is another one meant?")]
    OwnKey,
    /// A warning: part of a command, and a comment to others.
    #[error("this # is part of the command, and wg-quick before 1.0.20260223 cuts the command off here")]
    CutCommand,
    /// A warning: two peers of one name.
    #[error("the [Peer] of line {0} has the same Name: commands that take a name will not know which is meant")]
    SameName(usize),
    /// A warning: `ringfort check` could not see everything.
    #[error("not checked: {0}")]
    NotChecked(Box<Problem>),
}

impl Mistakes {
    /// A single one.
    #[must_use]
    pub fn one(place: Place, problem: Problem) -> Self {
        Self { kept: vec![Mistake { place, problem }], left_out: 0 }
    }

    /// Those that were kept.
    #[must_use]
    pub fn list(&self) -> &[Mistake] {
        &self.kept
    }

    /// How many there are in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kept.len() + self.left_out
    }

    pub(crate) fn push(&mut self, place: Place, problem: Problem) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(Mistake { place, problem });
        } else {
            self.left_out += 1;
        }
    }
}

impl Place {
    /// A file as a whole.
    #[must_use]
    pub fn file(file: impl Into<Arc<Path>>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl std::error::Error for Mistakes {}

/// A line for each.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, mistake) in self.kept.iter().enumerate() {
            let newline = if position == 0 { "" } else { "\n" };
            write!(f, "{newline}{mistake}")?;
        }
        if self.left_out > 0 { write!(f, "\nand {} more", self.left_out) } else { Ok(()) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// `FILE:LINE:COLUMN`, as compilers say it and editors understand it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

struct NearestSection(Option<&'static str>);

impl fmt::Display for NearestSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(header) => write!(f, "did you mean {header}?"),
            None => f.write_str("there are [Interface] and [Peer]"),
        }
    }
}

struct Nearest(Option<&'static str>);

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ": did you mean {name}?"),
            None => f.write_str(": see ringfort up --help for those that there are"),
        }
    }
}
