//! A page: its blocks, headings, links and regions that a program writes.

use crate::block::{Block, How, Machine};

/// The mark behind the scene that other pages go on from.
const SCENE_ENDS: &str = "scene ends";
const REGION_BEGINS: &str = "<!-- begin: written by scripts/handbook --write -->";
const REGION_ENDS: &str = "<!-- end -->";
/// Scenes that a page can begin with.
const SCENES: [&str; 1] = ["tunnel"];

/// A page of the handbook.
#[derive(Clone, Debug)]
pub struct Page {
    /// The name of its file.
    pub file: String,
    /// All of it.
    pub text: String,
    /// Whether the tunnel of [`TUNNEL`](crate::TUNNEL) must be there.
    pub needs_tunnel: bool,
    /// The blocks of code.
    pub blocks: Vec<Block>,
    headings: Vec<Heading>,
    links: Vec<Hyperlink>,
}

/// A heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// From 1.
    pub line: usize,
    /// How many `#`.
    pub level: usize,
    /// As it is written.
    pub text: String,
    /// What a link to it has behind `#`.
    pub anchor: String,
}

/// A link to another place of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hyperlink {
    /// From 1.
    pub line: usize,
    /// As it is written, an address elsewhere excluded.
    pub target: String,
}

/// What a program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    /// What is before it, its mark included.
    pub before: &'a str,
    /// What is in it.
    pub inside: &'a str,
    /// What is behind it, its mark included.
    pub after: &'a str,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// A mark that is none, or a fence without an end: the text says where.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut reader = Reader::new(file);
        for (at, line) in text.lines().enumerate() {
            reader.line(at + 1, line)?;
        }
        if reader.open.is_some() {
            return Err(format!("{file}: a block has no end"));
        }
        reader.no_marks()?;
        let Reader { needs_tunnel, blocks, headings, links, .. } = reader;
        Ok(Self { file: file.to_owned(), text: text.to_owned(), needs_tunnel, blocks, headings, links })
    }

    /// Its headings.
    #[must_use]
    pub fn headings(&self) -> &[Heading] {
        &self.headings
    }

    /// Its links to other places of the repository.
    #[must_use]
    pub fn links(&self) -> &[Hyperlink] {
        &self.links
    }

    /// The region that a program writes, if there is one.
    #[must_use]
    pub fn region(&self) -> Option<Region<'_>> {
        let begin = self.text.find(REGION_BEGINS)? + REGION_BEGINS.len();
        let end = begin + self.text[begin..].find(REGION_ENDS)?;
        Some(Region { before: &self.text[..begin], inside: &self.text[begin..end], after: &self.text[end..] })
    }
}

/// What was read so far: a block that has begun, the marks for the next one, and what is complete.
struct Reader<'a> {
    file: &'a str,
    needs_tunnel: bool,
    is_after_scene: bool,
    marks: Marks,
    open: Option<Block>,
    blocks: Vec<Block>,
    headings: Vec<Heading>,
    links: Vec<Hyperlink>,
}

#[derive(Default)]
struct Marks {
    /// Of the first.
    line: usize,
    on_laptop: bool,
    before: Vec<String>,
    statuses: Vec<i32>,
    script: Option<String>,
    reason: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            needs_tunnel: false,
            is_after_scene: false,
            marks: Marks::default(),
            open: None,
            blocks: Vec::new(),
            headings: Vec::new(),
            links: Vec::new(),
        }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if let Some(open) = &mut self.open {
            if line == "```" {
                self.blocks.extend(self.open.take());
            } else {
                open.text.push_str(line);
                open.text.push('\n');
            }
            return Ok(());
        }
        if let Some(language) = line.strip_prefix("```") {
            let marks = std::mem::take(&mut self.marks);
            let (language, is_after_scene) = (language.to_owned(), self.is_after_scene);
            let how = marks.how();
            self.open = Some(Block { line: number + 1, language, text: String::new(), how, is_after_scene });
            return Ok(());
        }
        if let Some(mark) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            return self.mark(number, mark);
        }
        self.no_marks()?;
        self.prose(number, line);
        Ok(())
    }

    /// Whoever is here is at no block.
    fn no_marks(&self) -> Result<(), String> {
        match self.marks.line {
            0 => Ok(()),
            line => Err(format!("{}:{line}: this mark is above no block", self.file)),
        }
    }

    fn mark(&mut self, number: usize, mark: &str) -> Result<(), String> {
        let wrong = || format!("{}:{number}: no such mark: {mark}", self.file);
        if mark == SCENE_ENDS {
            self.is_after_scene = true;
            return Ok(());
        }
        if mark == "end" || mark.starts_with("begin: ") {
            return Ok(());
        }
        let (name, value) = mark.split_once(": ").ok_or_else(wrong)?;
        if name == "scene" {
            self.needs_tunnel = SCENES.contains(&value);
            return if self.needs_tunnel { Ok(()) } else { Err(wrong()) };
        }
        let marks = &mut self.marks;
        match name {
            "on" if value == "laptop" => marks.on_laptop = true,
            "before" => marks.before.push(value.to_owned()),
            "status" => {
                let statuses: Result<_, _> = value.split(' ').map(str::parse).collect();
                marks.statuses = statuses.map_err(|_| wrong())?;
            }
            "in" => marks.script = Some(value.to_owned()),
            "not run" => marks.reason = Some(value.to_owned()),
            _ => return Err(wrong()),
        }
        if marks.line == 0 {
            marks.line = number;
        }
        Ok(())
    }

    fn prose(&mut self, number: usize, line: &str) {
        let level = line.bytes().take_while(|&byte| byte == b'#').count();
        if level > 0
            && let Some(text) = line[level..].strip_prefix(' ')
        {
            let anchor = self.anchor(text);
            self.headings.push(Heading { line: number, level, text: text.to_owned(), anchor });
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let target = &rest[..rest.find(')').unwrap_or(rest.len())];
            if !target.starts_with("http") {
                self.links.push(Hyperlink { line: number, target: target.to_owned() });
            }
        }
    }

    /// As mdBook makes it: letters and digits in lower case, `-` for blanks, a number behind what was there before.
    fn anchor(&self, text: &str) -> String {
        let kept = text.chars().filter(|c| c.is_alphanumeric() || ['_', '-', ' '].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase();
        let earlier = self.headings.iter().filter(|other| {
            let rest = other.anchor.strip_prefix(&anchor);
            let is_number = |rest: &str| rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok());
            rest.is_some_and(|rest| rest.is_empty() || is_number(rest))
        });
        match earlier.count() {
            0 => anchor,
            count => format!("{anchor}-{count}"),
        }
    }
}

impl Marks {
    fn how(self) -> How {
        match (self.script, self.reason) {
            (Some(script), _) => How::In(script),
            (None, Some(reason)) => How::NotRun(reason),
            (None, None) => {
                let on = if self.on_laptop { Machine::Laptop } else { Machine::Gateway };
                How::Run { on, before: self.before, statuses: self.statuses }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Page, String> {
        Page::parse("a.md", text)
    }

    #[test]
    fn blocks_have_the_marks_above_them() {
        let text = "<!-- scene: tunnel -->\n# A\n\n<!-- on: laptop -->\n<!-- status: 0 2 -->\n```sh\na\nb\n```\n\
                    <!-- scene ends -->\n<!-- not run: too long -->\n```console\n# c\n```\n```ini\n```\n";
        let page = parse(text).unwrap();
        assert!(page.needs_tunnel);
        let [first, second, third] = &page.blocks[..] else { panic!("{page:?}") };
        let how = How::Run { on: Machine::Laptop, before: vec![], statuses: vec![0, 2] };
        assert_eq!((first.line, first.text.as_str(), &first.how), (7, "a\nb\n", &how));
        assert!(!first.is_after_scene && second.is_after_scene);
        assert_eq!(second.how, How::NotRun("too long".to_owned()));
        assert!(second.is_commands() && !third.is_commands());
    }

    #[test]
    fn marks_that_are_none_are_said() {
        for text in ["<!-- on: moon -->\n```\n```\n", "<!-- what -->\n", "<!-- scene: moon -->", "```sh\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["<!-- on: laptop -->\ntext\n", "<!-- on: laptop -->\n"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("a.md:1"), "{error}");
        }
    }

    #[test]
    fn anchors_are_those_of_mdbook() {
        let page = parse("# `a_b` of C/d?\n## X\n## X\n### `[Peer]`\n").unwrap();
        let anchors: Vec<_> = page.headings().iter().map(|heading| heading.anchor.as_str()).collect();
        assert_eq!(anchors, ["a_b-of-cd", "x", "x-1", "peer"]);
    }

    #[test]
    fn links_and_regions() {
        let text = format!("see [a](b.md#c), [d](https://e)\n{REGION_BEGINS}\nold\n{REGION_ENDS}\nz\n");
        let page = parse(&text).unwrap();
        assert_eq!(page.links(), [Hyperlink { line: 1, target: "b.md#c".to_owned() }]);
        let region = page.region().unwrap();
        assert_eq!(region.inside, "\nold\n");
        assert_eq!([region.before, region.inside, region.after].concat(), text);
    }
}
