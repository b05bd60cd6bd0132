//! The page of settings has all that there are, and its examples are what the program takes.

use std::collections::BTreeSet;
use std::path::Path;

use ringfort_config::{KeyFiles, Memory, SettingName, StartSettings, load, settings};
use ringfort_handbook::{Page, page};

/// What stands in examples in capitals. Any key will do.
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A section of the page: its heading and what follows.
struct Section<'a> {
    /// The section of the file that it is about.
    of: &'static str,
    name: &'a str,
    text: &'a str,
    /// Of its heading, from 1.
    line: usize,
}

impl Section<'_> {
    fn place(&self) -> String {
        format!("docs/src/configuration.md:{}: {}", self.line, self.name)
    }

    /// What stands behind `* NAME: `.
    fn item(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("* ")?.strip_prefix(name)?.strip_prefix(": "))
    }

    fn example(&self) -> &str {
        let begin = self.text.find("```ini\n").unwrap_or_else(|| panic!("{} has no example", self.place())) + 7;
        &self.text[begin..begin + self.text[begin..].find("```").unwrap()]
    }

    fn is_about(&self, setting: &SettingName) -> bool {
        self.of == setting.section && self.name == setting.name
    }
}

fn sections(page: &Page) -> Vec<Section<'_>> {
    let lines: Vec<&str> = page.text.lines().collect();
    let mut of = None;
    let mut sections = Vec::new();
    for heading in page.headings() {
        match (heading.level, heading.text.as_str()) {
            (2, "`[Interface]`") => of = Some("[Interface]"),
            (2, "`[Peer]`") => of = Some("[Peer]"),
            (2, "Anywhere") => of = Some(""),
            (2, _) => of = None,
            (3, text) => {
                let Some(of) = of else { continue };
                let name = text.split('`').nth(1).unwrap_or_else(|| panic!("{text:?} names no setting"));
                let begin = page.text.len() - lines[heading.line - 1..].join("\n").len() - 1;
                let rest = &page.text[begin + lines[heading.line - 1].len()..];
                let text = &rest[..rest.find("\n#").unwrap_or(rest.len())];
                sections.push(Section { of, name, text, line: heading.line });
            }
            _ => {}
        }
    }
    sections
}

/// The program's settings and the page's sections are the same, in number as well.
#[test]
fn every_setting_has_a_section() {
    let page = page("configuration.md").unwrap();
    let sections = sections(&page);
    let shown: BTreeSet<_> = sections.iter().map(|section| (section.of, section.name)).collect();
    let settings = settings();
    let there: BTreeSet<_> = settings.iter().map(|setting| (setting.section, setting.name)).collect();
    assert_eq!(shown, there, "left: docs/src/configuration.md, right: the program");
    assert_eq!(sections.len(), settings.len(), "a section twice");
}

#[test]
fn each_says_what_it_takes_and_what_a_reload_does() {
    let page = page("configuration.md").unwrap();
    for setting in settings() {
        let section = sections(&page).into_iter().find(|one| one.is_about(&setting)).unwrap();
        let place = section.place();
        assert_eq!(section.text.contains("*Own.*"), setting.is_ours, "{place}: whose is it?");
        let repeats = section.text.replace('\n', " ").contains("*May be repeated.*");
        assert_eq!(repeats, setting.repeats, "{place}: may it be repeated?");
        for item in ["Values", "Default", "Reload"] {
            assert!(section.item(item).is_some(), "{place}: * {item}: is missing");
        }
        let needs_restart = section.item("Reload").unwrap().starts_with("needs a restart");
        assert_eq!(needs_restart, restart_names().contains(&setting.name), "{place}: what does a reload do?");
    }
}

/// The settings of which a reload says that they need a restart.
fn restart_names() -> Vec<&'static str> {
    let all = [
        "Workers = 3",
        "CPUs = 1",
        "BusyPoll = 1",
        "UdpGso = off",
        "Overlays = off",
        "Bind = lo",
        "SocketBuffer = 1M",
        "Memory = 32M",
        "Node = 1/2",
        "Passive = true",
        "Aead = aws-lc",
        "LogLevel = warn",
        "Metrics = 127.0.0.1:1",
    ];
    let loaded = read(&format!("[Interface]\n{}\n", all.join("\n"))).unwrap();
    loaded.differences(&StartSettings::default())
}

#[test]
fn examples_are_what_the_program_takes() {
    let page = page("configuration.md").unwrap();
    for section in sections(&page) {
        let example = section.example();
        let named = example.lines().any(|line| line.split('=').next().unwrap().trim() == section.name);
        assert!(named, "{}: the example is of something else", section.place());
        let before = match section.of {
            "[Peer]" if section.name == "PublicKey" => "[Peer]\n".to_owned(),
            "[Peer]" => format!("[Peer]\nPublicKey = {KEY}\n"),
            _ => "[Interface]\n".to_owned(),
        };
        read(&(before + example)).unwrap_or_else(|mistakes| panic!("{}: {mistakes}", section.place()));
    }
}

/// Blocks that are a file, or a part of one that begins with a section.
#[test]
fn other_files_on_the_pages_are_right() {
    let mut count = 0;
    for page in ringfort_handbook::pages().unwrap() {
        for block in page.blocks.iter().filter(|block| block.language == "ini" && block.text.contains("\n[Peer]")) {
            count += 1;
            let error = |mistakes| panic!("docs/src/{}:{}: {mistakes}", page.file, block.line);
            read(&block.text).unwrap_or_else(error);
        }
    }
    assert!(count > 0);
}

fn read(text: &str) -> Result<StartSettings, String> {
    let mut text = text.to_owned();
    for name in ["PRIVATE_KEY", "PUBLIC_KEY", "PRESHARED_KEY"] {
        text = text.replace(name, KEY);
    }
    let files = Memory::new([("wg0.conf", text.as_bytes()), ("wg0.key", KEY.as_bytes())]);
    let loaded = load(Path::new("wg0.conf"), &files, KeyFiles::Needed).map_err(|mistakes| mistakes.to_string())?;
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    Ok(loaded.config.interface.start)
}
