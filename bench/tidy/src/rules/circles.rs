//! Circles of modules: each needs what is in the other, so neither can be read, tested or moved alone.
//!
//! The modules of one parent are looked at, at each level of each crate. What is below a module is a part of it, and
//! so is a module without a file of its own. One module uses another if a path in it leads there, in a `use` line or
//! elsewhere. A path that leads to a re-export leads to what is re-exported as well.
//!
//! What a module takes from its parents, and a parent from its modules, makes no circle: they are one thing, and the
//! parent's file is its first page. Not looked at are tests, examples in the documentation, what macros write, and
//! methods: a value can be used without a path to its type.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::modules::{Modules, named, of_crate, roots};
use crate::prose::{Word, paragraphs, sentences, word_count};
use crate::rust::is_word;
use crate::{File, Problem, Tree};

/// How the paragraph begins that says why a circle is honest. It is in the `//!` page of the parent.
const MARK: [&str; 2] = ["Import", "circle:"];

/// Modules do not use each other in a circle, unless the page of their parent says why.
pub fn circles(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for root in roots(tree) {
        let modules = of_crate(tree, root);
        let mut uses = uses(&modules);
        for (name, module) in modules.iter().filter(|(_, module)| !module.is_inline) {
            let uses = uses.remove(name.as_slice()).unwrap_or_default();
            let mut reasons = reasons(module.file);
            for circle in components(&uses) {
                match reasons.iter().position(|reason| reason.circle.iter().eq(&circle)) {
                    Some(at) if reasons[at].words > 0 => _ = reasons.remove(at),
                    Some(_) => {}
                    None => found.push(Problem::new(module.file, 1, circle_text(&circle, &uses))),
                }
            }
            found.extend(reasons.iter().map(|reason| Problem::new(module.file, reason.line, reason.problem_text())));
        }
    }
    found
}

fn circle_text(circle: &Circle<'_>, uses: &Uses<'_>) -> String {
    let list = list(circle);
    let steps: Vec<String> = shortest(circle, uses)
        .windows(2)
        .map(|step| {
            let place = &uses[step[0]][step[1]];
            format!("`{}` uses `{}` in {}:{}", step[0], step[1], place.file.path, place.line)
        })
        .collect();
    format!(
        "import circle of {list}: {}. Move what they share to a module that both use, or say in a paragraph of this \
         page why they are one thing: `{} {list}. Why.`",
        steps.join(", "),
        MARK.join(" ")
    )
}

/// Modules of one parent.
type Circle<'a> = BTreeSet<&'a str>;

/// Which of the modules of one parent uses which, and where first.
type Uses<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Place<'a>>>;

struct Place<'a> {
    file: &'a File,
    line: usize,
}

/// What the modules of each parent use of each other.
fn uses<'a>(modules: &'a Modules<'_>) -> BTreeMap<&'a [String], Uses<'a>> {
    let mut found: BTreeMap<&[String], Uses<'_>> = BTreeMap::new();
    for (name, module) in modules {
        for path in &module.paths {
            for other in named(modules, name, path) {
                let (from, to) = (with_file(modules, name), with_file(modules, other));
                let shared = from.iter().zip(to).take_while(|(from, to)| from == to).count();
                if let (Some(user), Some(used)) = (from.get(shared), to.get(shared)) {
                    let place = Place { file: module.file, line: path.line };
                    found.entry(&from[..shared]).or_default().entry(user).or_default().entry(used).or_insert(place);
                }
            }
        }
    }
    found
}

/// The module in whose file a module is.
fn with_file<'a>(modules: &Modules<'_>, name: &'a [String]) -> &'a [String] {
    match name.split_last() {
        Some((_, parent)) if modules[name].is_inline => with_file(modules, parent),
        _ => name,
    }
}

/// Sets of modules of which each leads to all others.
fn components<'a>(uses: &Uses<'a>) -> BTreeSet<Circle<'a>> {
    let reached: BTreeMap<&str, Circle<'_>> = uses.keys().map(|from| (*from, reached(from, uses))).collect();
    let leads_back = |from: &str, to: &str| reached.get(to).is_some_and(|reached| reached.contains(from));
    let components = reached.iter().map(|(from, to)| to.iter().copied().filter(|to| leads_back(from, to)).collect());
    components.filter(|component: &Circle<'_>| !component.is_empty()).collect()
}

/// The modules that a module uses, and what they use.
fn reached<'a>(from: &'a str, uses: &Uses<'a>) -> Circle<'a> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(from) = left.pop() {
        left.extend(uses.get(from).into_iter().flat_map(|used| used.keys()).filter(|to| found.insert(**to)));
    }
    found
}

/// The modules of the shortest circle, the first of them at its end again.
fn shortest<'a>(circle: &Circle<'a>, uses: &Uses<'a>) -> Vec<&'a str> {
    let ways = circle.iter().filter_map(|start| {
        let mut seen = BTreeSet::new();
        let mut left = VecDeque::from([vec![*start]]);
        while let Some(way) = left.pop_front() {
            let used = way.last().and_then(|last| uses.get(last)).into_iter().flat_map(BTreeMap::keys);
            for next in used.filter(|next| seen.insert(**next)) {
                let way = [way.as_slice(), &[*next]].concat();
                if next == start {
                    return Some(way);
                }
                left.push_back(way);
            }
        }
        None
    });
    ways.min_by_key(Vec::len).unwrap_or_default()
}

/// A paragraph that says why there is a circle.
struct Reason {
    line: usize,
    circle: BTreeSet<String>,
    /// How many words say why.
    words: usize,
}

impl Reason {
    /// What is wrong with a reason that is of no use.
    fn problem_text(&self) -> String {
        let list = list(&self.circle);
        match self.words {
            0 => format!("why this is honest is missing: `{} {list}. Why.`", MARK.join(" ")),
            _ => format!("{list} are no import circle, or not all of one: correct the list, or remove the paragraph"),
        }
    }
}

/// What the page of a file says of circles.
fn reasons(file: &File) -> Vec<Reason> {
    let is_page = |word: &Word| file.lines().nth(word.line - 1).is_some_and(|(_, line)| line.starts_with("//!"));
    let paragraphs = paragraphs(file).into_iter().filter(|words| {
        words.len() > MARK.len() && is_page(&words[0]) && MARK.iter().zip(words).all(|(mark, word)| *mark == word.text)
    });
    let reason = |words: Vec<Word>| {
        let mut sentences = sentences(&words);
        let names = sentences.next().unwrap_or_default().iter().skip(MARK.len());
        let names = names.map(|word| word.text.trim_matches(|c: char| !is_word(c)).to_owned());
        Reason { line: words[0].line, circle: names.collect(), words: sentences.map(word_count).sum() }
    };
    paragraphs.map(reason).collect()
}

/// Names in backquotes, as a reason has them.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: Some((*text).to_owned()) };
        let found = circles(&Tree { files: files.iter().map(file).collect() });
        found.into_iter().map(|problem| format!("{}:{}: {}", problem.path, problem.line, problem.text)).collect()
    }

    /// `a` and `b` use each other, under a page.
    fn of_two(page: &str) -> Vec<String> {
        let root = format!("{page}mod a;\nmod b;\nmod c;\n");
        let a = "use std::io;\n\nuse crate::{b::B, c::C};\n";
        problems(&[("src/lib.rs", &root), ("src/a.rs", a), ("src/b.rs", "fn f(a: super::a::A) {}\n"), ("src/c.rs", "")])
    }

    #[test]
    fn a_circle_is_found() {
        assert_eq!(
            of_two("//! A page.\n"),
            ["src/lib.rs:1: import circle of `a`, `b`: `a` uses `b` in src/a.rs:3, `b` uses `a` in src/b.rs:1. \
              Move what they share to a module that both use, or say in a paragraph of this page why they are one \
              thing: `Import circle: `a`, `b`. Why.`"]
        );
    }

    #[test]
    fn a_reason_allows_a_circle() {
        let none: [&str; 0] = [];
        assert_eq!(of_two("//! A page.\n//!\n//! Import circle: `a`,\n//! `b`. They are one.\n"), none);
        assert_eq!(of_two("//! * Import circle: `b`, `a`. They are one.\n"), none);
        assert!(of_two("//! Import circle: `a`, `b`.\n")[0].starts_with("src/lib.rs:1: why this is honest is missing"));
        assert_eq!(of_two("// Import circle: `a`, `b`. This is no page.\n").len(), 1);
    }

    #[test]
    fn a_reason_is_for_all_modules_of_a_circle_and_for_no_others() {
        let found = of_two("//! A page.\n//!\n//! Import circle: `a`, `b`, `c`. They are one.\n");
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("src/lib.rs:3: `a`, `b`, `c` are no import circle"), "{found:?}");
        let found = problems(&[("src/main.rs", "//! Import circle: `a`, `b`. No more.\nmod a;\nmod b;\n")]);
        assert!(found[0].starts_with("src/main.rs:1: `a`, `b` are no import circle"), "{found:?}");
    }

    #[test]
    fn what_is_below_a_module_is_a_part_of_it() {
        let root = ("x/src/lib.rs", "mod a;\nmod b;\n");
        let files = [
            root,
            ("x/src/a/mod.rs", "mod c;\nmod d;\npub use d::D;\nuse crate::b::B;\n"),
            ("x/src/a/c.rs", "use super::D;\nmod e { use crate::b::B; }\n"),
            ("x/src/a/d.rs", "use super::c::C;\n"),
            ("x/src/b.rs", "use crate::a::D;"),
        ];
        let found = problems(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("x/src/lib.rs:1: import circle of `a`, `b`: "), "{found:?}");
        assert!(found[1].starts_with("x/src/a/mod.rs:1: import circle of `c`, `d`: "), "{found:?}");
    }

    #[test]
    fn what_parents_share_makes_no_circle() {
        let files = [
            ("src/lib.rs", "use a::A;\nmod a;\nmod b;\nstruct S;\n"),
            ("src/a.rs", "use crate::S;\nuse crate::b::B;\n#[cfg(test)]\nmod tests { use super::*; use crate::b; }\n"),
            ("src/b.rs", "use super::S;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n"),
        ];
        assert_eq!(problems(&files), [""; 0]);
    }
}
