//! The settings that there are: their names, where they stand, and whose they are.

use strsim::damerau_levenshtein;

/// Which section a line stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Before the first one, of each file.
    None,
    Interface,
    Peer,
}

/// Who understands a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// `wg(8)` or `wg-quick(8)`, and we.
    Wg,
    /// We alone.
    Us,
}

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    PrivateKey,
    PrivateKeyFile,
    ListenPort,
    FwMark,
    Address,
    Dns,
    Mtu,
    Table,
    PreUp,
    PostUp,
    PreDown,
    PostDown,
    SaveConfig,
    HookTimeout,
    Workers,
    Cpus,
    BusyPoll,
    UdpGso,
    Overlays,
    Bind,
    SocketBuffer,
    Memory,
    Node,
    Passive,
    Aead,
    LogLevel,
    Metrics,
    PublicKey,
    PresharedKey,
    AllowedIps,
    Endpoint,
    PersistentKeepalive,
    Name,
    Source,
    CipherSuite,
    Include,
}

/// A line of the table.
pub(crate) struct Entry {
    pub name: &'static str,
    pub setting: Setting,
    pub owner: Owner,
    /// Whether the section may have several.
    pub repeats: bool,
}

const fn wg(name: &'static str, setting: Setting) -> Entry {
    Entry { name, setting, owner: Owner::Wg, repeats: false }
}

const fn list(name: &'static str, setting: Setting) -> Entry {
    Entry { name, setting, owner: Owner::Wg, repeats: true }
}

const fn own(name: &'static str, setting: Setting) -> Entry {
    Entry { name, setting, owner: Owner::Us, repeats: false }
}

/// A setting, for whoever lists them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingName {
    /// The header of its section; empty if it may stand anywhere.
    pub section: &'static str,
    /// As it is written.
    pub name: &'static str,
    /// Whether `wg(8)` and `wg-quick(8)` do not know it.
    pub is_ours: bool,
    /// Whether a section may have several.
    pub repeats: bool,
}

/// Every setting that there is.
#[must_use]
pub fn settings() -> Vec<SettingName> {
    let named = |section, entry: &Entry| {
        let &Entry { name, owner, repeats, .. } = entry;
        SettingName { section, name, is_ours: owner == Owner::Us, repeats }
    };
    let in_sections = [Section::Interface, Section::Peer]
        .into_iter()
        .flat_map(|section| section.entries().iter().map(move |entry| named(section.header(), entry)));
    in_sections.chain([named("", &INCLUDE)]).collect()
}

pub(crate) const INCLUDE: Entry = Entry { name: "Include", setting: Setting::Include, owner: Owner::Us, repeats: true };

const INTERFACE: [Entry; 28] = [
    wg("PrivateKey", Setting::PrivateKey),
    wg("ListenPort", Setting::ListenPort),
    wg("FwMark", Setting::FwMark),
    list("Address", Setting::Address),
    list("DNS", Setting::Dns),
    wg("MTU", Setting::Mtu),
    wg("Table", Setting::Table),
    list("PreUp", Setting::PreUp),
    list("PostUp", Setting::PostUp),
    list("PreDown", Setting::PreDown),
    list("PostDown", Setting::PostDown),
    wg("SaveConfig", Setting::SaveConfig),
    own("PrivateKeyFile", Setting::PrivateKeyFile),
    own("CipherSuite", Setting::CipherSuite),
    own("HookTimeout", Setting::HookTimeout),
    own("Workers", Setting::Workers),
    own("CPUs", Setting::Cpus),
    own("BusyPoll", Setting::BusyPoll),
    own("UdpGso", Setting::UdpGso),
    own("Overlays", Setting::Overlays),
    own("Bind", Setting::Bind),
    own("SocketBuffer", Setting::SocketBuffer),
    own("Memory", Setting::Memory),
    own("Node", Setting::Node),
    own("Passive", Setting::Passive),
    own("Aead", Setting::Aead),
    own("LogLevel", Setting::LogLevel),
    own("Metrics", Setting::Metrics),
];

const PEER: [Entry; 8] = [
    wg("PublicKey", Setting::PublicKey),
    list("AllowedIPs", Setting::AllowedIps),
    wg("Endpoint", Setting::Endpoint),
    wg("PresharedKey", Setting::PresharedKey),
    wg("PersistentKeepalive", Setting::PersistentKeepalive),
    own("Name", Setting::Name),
    own("CipherSuite", Setting::CipherSuite),
    own("Source", Setting::Source),
];

impl Section {
    /// What may stand in it, apart from [`INCLUDE`].
    pub fn entries(self) -> &'static [Entry] {
        match self {
            Self::None => &[],
            Self::Interface => &INTERFACE,
            Self::Peer => &PEER,
        }
    }

    /// As it is written.
    pub fn header(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Interface => "[Interface]",
            Self::Peer => "[Peer]",
        }
    }

    /// The setting of that name, without regard to case.
    pub fn find(self, name: &str) -> Option<&'static Entry> {
        const ANYWHERE: &[Entry] = &[INCLUDE];
        self.entries().iter().chain(ANYWHERE).find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// The section whose header was meant by one that is none, if it is near enough.
    pub fn meant(header: &str) -> Option<Self> {
        /// A header that is longer may mean anything.
        const LEN_MAX: usize = 24;
        const DISTANCE_MAX: usize = 2;
        let header = header.get(..LEN_MAX.min(header.len())).filter(|short| short.len() == header.len())?;
        let letters: String = header.chars().filter(|char| char.is_alphanumeric()).collect();
        let distance = |section: Self| {
            let name = section.header().trim_matches(['[', ']']).to_ascii_lowercase();
            damerau_levenshtein(&name, &letters.to_ascii_lowercase())
        };
        let near = [Self::Interface, Self::Peer].into_iter().map(|section| (distance(section), section));
        near.filter(|&(distance, _)| distance <= DISTANCE_MAX).min_by_key(|&(distance, _)| distance).map(|(_, one)| one)
    }

    /// The section that has a setting of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Interface, Self::Peer].into_iter().find(|section| section.find(name).is_some())
    }

    /// Whether only we understand settings of this name, in any section.
    pub fn is_ours(name: &str) -> bool {
        let entries = [Self::Interface, Self::Peer].into_iter().filter_map(|section| section.find(name));
        entries.into_iter().any(|entry| entry.owner == Owner::Us)
    }

    /// The name that was meant by one that is not there, if one is near enough.
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        /// Two keys of the keyboard.
        const DISTANCE_MAX: usize = 2;
        /// No setting's name is longer, and a longer text may be anything.
        const LEN_MAX: usize = 24;
        if name.len() > LEN_MAX {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let distance = |entry: &Entry| damerau_levenshtein(&entry.name.to_ascii_lowercase(), &name);
        let near = self.entries().iter().map(|entry| (distance(entry), entry.name));
        near.filter(|&(distance, _)| distance <= DISTANCE_MAX).min().map(|(_, name)| name)
    }
}
