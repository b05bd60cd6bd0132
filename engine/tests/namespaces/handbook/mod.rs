//! Every command of the handbook is run, in the order of its page, with real gateways. What a page says that a command
//! prints is compared with what it prints.
//!
//! How a page says what is done with a block stands in the crate `ringfort-handbook`.

mod machine;

use std::collections::BTreeSet;

use ringfort_handbook::{Block, Exchange, How, Machine as Name, Page, TUNNEL, matches, page, pages};

use machine::{Lab, Said};

/// A test for each page that has something to run.
macro_rules! pages {
    ($($test:ident: $file:literal),+ $(,)?) => {
        const PAGES: &[&str] = &[$($file),+];
        $(
            #[test]
            fn $test() {
                play($file);
            }
        )+
    };
}

pages! {
    capture: "capture.md",
    ciphers: "ciphers.md",
    commands: "commands.md",
    configuration: "configuration.md",
    containers: "containers.md",
    cpus: "cpus.md",
    first_tunnel: "first-tunnel.md",
    images: "images.md",
    install: "install.md",
    measuring: "measuring.md",
    metrics: "metrics.md",
    mtu: "mtu.md",
    nodes: "nodes.md",
    operating: "operating.md",
    pair: "pair.md",
    routing: "routing.md",
    security: "security.md",
    sizing: "sizing.md",
    troubleshooting: "troubleshooting.md",
    upgrade: "upgrade.md",
}

#[test]
fn every_page_with_commands_is_played() {
    let is_run = |block: &Block| block.is_commands() && matches!(block.how, How::Run { .. });
    let pages = pages().unwrap();
    let with_commands = pages.iter().filter(|page| page.blocks.iter().any(is_run));
    let there: BTreeSet<&str> = with_commands.map(|page| page.file.as_str()).collect();
    assert_eq!(PAGES.iter().copied().collect::<BTreeSet<_>>(), there);
}

/// Runs a page from its beginning to its end.
fn play(file: &str) {
    let page = page(file).unwrap_or_else(|error| panic!("docs/src/{error}"));
    let lab = Lab::new();
    if page.needs_tunnel {
        let tunnel = ringfort_handbook::page(TUNNEL).unwrap();
        play_blocks(&lab, &tunnel, |block| !block.is_after_scene);
    }
    play_blocks(&lab, &page, |_| true);
}

fn play_blocks(lab: &Lab, page: &Page, is_wanted: impl Fn(&Block) -> bool) {
    for block in page.blocks.iter().filter(|block| block.is_commands() && is_wanted(block)) {
        let How::Run { on, before, statuses } = &block.how else { continue };
        for command in before {
            let Said { status, text } = lab.of(*on).run(&lab.with_keys(command));
            assert_eq!(status, 0, "docs/src/{}:{}: before it, {command}\n{text}", page.file, block.line);
        }
        if block.language == "sh" && statuses.is_empty() {
            let Said { status, text } = lab.of(*on).run(&lab.with_keys(&block.text));
            assert_eq!(status, 0, "docs/src/{}:{}: this fails\n{}\n{text}", page.file, block.line, block.text);
        } else {
            let statuses = if statuses.is_empty() { &[0][..] } else { statuses };
            block.commands().iter().for_each(|one| exchange(lab, *on, page, one, statuses));
        }
    }
}

/// A command, what it ends with, and what it says.
fn exchange(lab: &Lab, on: Name, page: &Page, one: &Exchange, statuses: &[i32]) {
    let Said { status, text } = lab.of(on).ask(&lab.with_keys(&one.command));
    let place = format!("docs/src/{}:{}: `{}`", page.file, one.line, one.command);
    assert!(statuses.contains(&status), "{place} ended with {status} and not with one of {statuses:?}\n{text}");
    if let Some(expected) = &one.output {
        let expected = lab.with_keys(expected);
        assert!(matches(&expected, &text), "{place}\n--- the page says\n{expected}\n--- it printed\n{text}");
    }
}
