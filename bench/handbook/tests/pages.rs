//! The pages hang together: links lead somewhere, the table of contents has all of them, and what does not run says
//! why.

use std::collections::BTreeSet;

use ringfort_handbook::{How, Page, directory, pages, root};

fn all() -> Vec<Page> {
    pages().unwrap_or_else(|error| panic!("docs/src: {error}"))
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let listed: BTreeSet<String> = all().into_iter().map(|page| page.file).collect();
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = files.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect();
    assert_eq!(there, listed);
    for page in all() {
        let first = page.headings().first().unwrap_or_else(|| panic!("{} has no heading", page.file));
        assert_eq!(first.level, 1, "{}", page.file);
        let others = page.headings().iter().filter(|heading| heading.level == 1).count();
        assert_eq!(others, 1, "{}: one heading is that of the page", page.file);
    }
}

#[test]
fn links_lead_to_pages_and_headings() {
    let pages = all();
    let mut wrong = Vec::new();
    for page in &pages {
        for link in page.links() {
            let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
            let file = if file.is_empty() { &page.file } else { file };
            let target = pages.iter().find(|page| page.file == file);
            let is_there =
                |target: &Page| anchor.is_empty() || target.headings().iter().any(|one| one.anchor == anchor);
            if !target.is_some_and(is_there) {
                wrong.push(format!("docs/src/{}:{}: there is no {}", page.file, link.line, link.target));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A program or a script of the repository that a page names is there.
#[test]
fn files_that_are_named_are_there() {
    let mut wrong = Vec::new();
    for page in all() {
        for (at, line) in page.text.lines().enumerate() {
            for word in line.split(|c: char| c.is_whitespace() || "`();,'\"".contains(c)) {
                let word = word.trim_end_matches(['.', ':']);
                let is_ours = ["scripts/", "packaging/", "engine/", "bench/"].iter().any(|dir| word.starts_with(dir));
                if is_ours && !root().join(word).exists() {
                    wrong.push(format!("docs/src/{}:{}: there is no {word}", page.file, at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_a_script_runs_is_in_it() {
    let mut wrong = Vec::new();
    for page in all() {
        for block in page.blocks.iter().filter(|block| block.is_commands()) {
            let How::In(script) = &block.how else { continue };
            let text = std::fs::read_to_string(root().join(script)).unwrap_or_default();
            let missing = block.commands().into_iter().filter(|one| !text.contains(&one.command));
            wrong
                .extend(missing.map(|one| {
                    format!("docs/src/{}:{}: {script} does not run `{}`", page.file, one.line, one.command)
                }));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Most commands run. The reasons of the others are sentences without an end.
#[test]
fn what_does_not_run_says_why() {
    let (mut run, mut not_run) = (0, 0);
    for page in all() {
        for block in page.blocks.iter().filter(|block| block.is_commands()) {
            let commands = block.commands().len();
            assert!(commands > 0, "docs/src/{}:{}: a block without a command", page.file, block.line);
            match &block.how {
                How::NotRun(reason) => {
                    let place = format!("docs/src/{}:{}", page.file, block.line);
                    assert!(reason.split(' ').count() >= 4, "{place}: {reason:?} is no reason");
                    not_run += commands;
                }
                How::Run { .. } | How::In(_) => run += commands,
            }
        }
    }
    println!("{run} commands run, {not_run} do not");
    assert!(run > 2 * not_run, "{run} commands run, {not_run} do not");
}

/// A language that nobody knows is a slip: such a block would not be tested.
#[test]
fn languages_are_those_that_are_known() {
    const KNOWN: [&str; 5] = ["sh", "console", "ini", "text", "yaml"];
    for page in all() {
        for block in &page.blocks {
            let place = format!("docs/src/{}:{}", page.file, block.line);
            assert!(KNOWN.contains(&block.language.as_str()), "{place}: {:?}: use one of {KNOWN:?}", block.language);
        }
    }
}

/// Figures in the tables of the page about sizes are those of the pages that say how they were measured.
#[test]
fn figures_are_those_that_others_state() {
    let sources = ["README.md", "ARCHITECTURE.md", "bench/README.md"].map(|file| {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        text.split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned())
            .collect::<BTreeSet<String>>()
    });
    let page = ringfort_handbook::page("sizing.md").unwrap();
    let mut wrong = Vec::new();
    for (at, line) in page.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        for word in line.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())) {
            let is_figure = word.starts_with(|c: char| c.is_ascii_digit());
            if is_figure && !sources.iter().any(|words| words.contains(word)) {
                wrong.push(format!("docs/src/sizing.md:{}: no other page states {word}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
