//! The modules of a crate, and the paths by which each uses others. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust::{code_only, is_word};
use crate::{File, Tree};

/// The name of a module from the root of its crate: `["control", "file"]`. The root has none.
pub type Name = Vec<String>;

/// The modules of a crate by their names.
pub type Modules<'a> = BTreeMap<Name, Module<'a>>;

/// A module that is no test.
pub struct Module<'a> {
    /// Where it is written. A module without a file of its own is written where its parent is.
    pub file: &'a File,
    /// Whether it has no file of its own.
    pub is_inline: bool,
    /// The paths in it that name something of its crate, `use` or not.
    pub paths: Vec<Path>,
    /// What its `use` lines name, re-exports among them. Its children see them too.
    names: BTreeMap<String, Vec<String>>,
}

/// A path as it is written, such as `super::peers::Peer`.
pub struct Path {
    /// From 1.
    pub line: usize,
    segments: Vec<String>,
}

/// The first files of all crates: libraries, programs, examples and benchmarks.
pub fn roots(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.rust().filter(|file| {
        let mut parts = file.path.rsplit('/');
        let (name, within, above) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        match (within, above) {
            (Some("examples" | "benches"), _) | (Some("bin"), Some("src")) => true,
            (Some("src"), _) => ["lib.rs", "main.rs"].contains(&name),
            (_, Some("examples" | "benches")) => name == "main.rs",
            _ => false,
        }
    })
}

/// The modules of the crate that begins with `root`.
pub fn of_crate<'a>(tree: &'a Tree, root: &'a File) -> Modules<'a> {
    let files: BTreeMap<&str, &File> = tree.rust().map(|file| (file.path.as_str(), file)).collect();
    let source = root.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut modules = Modules::new();
    let mut left = vec![(Name::new(), root)];
    while let Some((name, file)) = left.pop() {
        let code = code_only(file.text.as_deref().unwrap_or_default());
        let mut parser = Parser { tokens: tokens(&code), at: 0, file, modules: &mut modules, declared: Vec::new() };
        parser.module(&name, false);
        for child in parser.declared {
            let path = format!("{source}/{}", child.join("/"));
            let places = [format!("{path}.rs"), format!("{path}/mod.rs")];
            let found = places.iter().find_map(|place| files.get(place.as_str()));
            left.extend(found.filter(|file| !file.is_test()).map(|file| (child, *file)));
        }
    }
    modules
}

/// The modules that `path` names when it is written in `module`. There may be several: a parent that re-exports what
/// is in its child is named, and so is the child. Nothing of another crate is.
pub fn named<'a>(modules: &'a Modules<'_>, module: &Name, path: &Path) -> Vec<&'a Name> {
    let mut found = BTreeSet::new();
    follow(modules, module, &path.segments, 0, &mut found);
    found.iter().filter_map(|name| modules.get_key_value(name)).map(|(name, _)| name).collect()
}

/// How many re-exports of re-exports are followed.
const DEPTH_MAX: usize = 16;

fn follow(modules: &Modules<'_>, module: &Name, segments: &[String], depth: usize, found: &mut BTreeSet<Name>) {
    let mut at = module.clone();
    for (index, segment) in segments.iter().enumerate() {
        let mut child = at.clone();
        child.push(segment.clone());
        match segment.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => _ = at.pop(),
            _ if modules.contains_key(&child) => at = child,
            _ => {
                // An item of the module, a re-export by it, or something of another crate.
                if index > 0 {
                    found.insert(at.clone());
                }
                let path = modules.get(&at).and_then(|module| module.names.get(segment));
                // A `use` line cannot lead to itself, except to what is not looked at.
                if let Some(path) = path.filter(|_| depth < DEPTH_MAX) {
                    follow(modules, &at, &[path, &segments[index + 1..]].concat(), depth + 1, found);
                }
                return;
            }
        }
    }
    found.insert(at);
}

#[derive(Clone, Copy)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// Words, `::`, and other characters one by one.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            found.push(Token { line: at + 1, text: &rest[..len] });
            rest = rest[len..].trim_start();
        }
    }
    found
}

struct Parser<'a, 'b> {
    tokens: Vec<Token<'b>>,
    at: usize,
    file: &'a File,
    modules: &'b mut Modules<'a>,
    /// Modules that have files of their own.
    declared: Vec<Name>,
}

impl<'a> Parser<'a, '_> {
    /// The text of a token that is so many ahead. Empty behind the last.
    fn ahead(&self, count: usize) -> &str {
        self.tokens.get(self.at + count).map_or("", |token| token.text)
    }

    fn behind(&self, count: usize) -> &str {
        self.at.checked_sub(count).map_or("", |at| self.tokens[at].text)
    }

    /// Reads a module until the brace that ends it, or the end of the file.
    fn module(&mut self, name: &Name, is_inline: bool) {
        let mut module = Module { file: self.file, is_inline, paths: Vec::new(), names: BTreeMap::new() };
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at).copied() {
            match token.text {
                "#" if self.is_test() => self.skip_item(),
                "mod" if self.ahead(2) == ";" || self.ahead(2) == "{" => self.child(name),
                "use" if self.ahead(1) != "<" => {
                    self.at += 1;
                    self.import(&[], depth == 0, &mut module);
                }
                // `pub(in crate::a)` uses nothing of it.
                "(" if self.ahead(1) == "in" => self.at += 2,
                "crate" | "super" | "self" if self.behind(1) != "::" => self.path(&mut module),
                "{" => depth += 1,
                "}" if depth == 0 => break,
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        self.modules.insert(name.clone(), module);
    }

    /// At `mod`. Stays at the last token of it.
    fn child(&mut self, parent: &Name) {
        let child = [parent.as_slice(), &[self.ahead(1).to_owned()]].concat();
        let has_file = self.ahead(2) == ";";
        self.at += 2;
        if has_file {
            self.declared.push(child);
        } else {
            self.at += 1;
            self.module(&child, true);
        }
    }

    /// Behind `use`, or within its braces. Stays at the last token of it.
    fn import(&mut self, prefix: &[String], is_of_module: bool, module: &mut Module<'_>) {
        let mut segments = prefix.to_vec();
        let mut alias = None;
        let begin = self.at;
        loop {
            match self.ahead(0) {
                "::" | "*" => {}
                "as" => alias = Some(self.ahead(1).to_owned()),
                "{" => {
                    while !["}", ""].contains(&self.ahead(0)) {
                        self.at += 1;
                        self.import(&segments, is_of_module, module);
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" | "" => break,
                // Of `a as b`, `b` is not a part of the path. Of `a::{self}`, `self` is `a`.
                _ if alias.is_some() || (self.ahead(0) == "self" && !segments.is_empty()) => {}
                text => segments.push(text.to_owned()),
            }
            self.at += 1;
        }
        // Nothing is behind the last comma.
        let Some(last) = segments.last().filter(|_| self.at > begin) else { return };
        if is_of_module && self.behind(1) != "*" {
            module.names.insert(alias.unwrap_or_else(|| last.clone()), segments.clone());
        }
        module.paths.push(Path { line: self.tokens[begin].line, segments });
    }

    /// At the first word of a path. Stays at the last.
    fn path(&mut self, module: &mut Module<'_>) {
        let mut segments = vec![self.ahead(0).to_owned()];
        let line = self.tokens[self.at].line;
        while self.ahead(1) == "::" && self.ahead(2).starts_with(is_word) {
            segments.push(self.ahead(2).to_owned());
            self.at += 2;
        }
        if segments.len() > 1 {
            module.paths.push(Path { line, segments });
        }
    }

    /// Whether `#[cfg(test)]` or `#[cfg(all(test, …` begins here.
    fn is_test(&self) -> bool {
        let is = |wanted: &[&str]| wanted.iter().enumerate().all(|(at, text)| self.ahead(at) == *text);
        is(&["#", "[", "cfg", "(", "test", ")", "]"]) || is(&["#", "[", "cfg", "(", "all", "(", "test", ","])
    }

    /// From an attribute to the last token of what it belongs to: an item, a statement, a field, an arm of a `match`.
    fn skip_item(&mut self) {
        let (mut brackets, mut braces, mut angles, mut is_bound) = (0, 0, 0, false);
        while !self.ahead(0).is_empty() {
            match self.ahead(0) {
                "(" | "[" => brackets += 1,
                ")" | "]" => brackets -= 1,
                "{" => braces += 1,
                "}" => braces -= 1,
                "<" => angles += 1,
                ">" if !["-", "="].contains(&self.behind(1)) => angles -= 1,
                "where" => is_bound = true,
                _ => {}
            }
            // The end of what is around it ends a field without a comma.
            if braces < 0 || brackets < 0 {
                self.at -= 1;
                return;
            }
            let is_end = match self.ahead(0) {
                "}" | ";" => true,
                "," => angles == 0 && !is_bound,
                _ => false,
            };
            if is_end && braces == 0 && brackets == 0 {
                return;
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: Some(text.to_owned()) }
    }

    /// What the modules of a crate name, as `where → what`.
    fn all_named(files: Vec<File>) -> Vec<String> {
        let tree = Tree { files };
        let modules = of_crate(&tree, roots(&tree).next().expect("a root"));
        let each = modules.iter().flat_map(|(name, module)| module.paths.iter().map(move |path| (name, path)));
        let named = each.flat_map(|(name, path)| {
            let line = path.line;
            named(&modules, name, path)
                .into_iter()
                .map(move |to| format!("{}:{line} → {}", name.join("::"), to.join("::")))
        });
        named.collect()
    }

    #[test]
    fn paths_lead_to_modules() {
        let files = vec![
            file("x/src/lib.rs", "mod a;\nmod b;\n"),
            file("x/src/a.rs", "use std::io;\nuse crate::b::{self, c::{D, E as F}, *};\nfn f(b: crate::b::c::D) {}\n"),
            file("x/src/b/mod.rs", "mod c;\npub(in crate::a) struct S;\n"),
            file("x/src/b/c.rs", "use super::super::a;\nfn f() -> impl T + use<'a> { super::S { a: self.a } }\n"),
        ];
        let expected = ["a:2 → b", "a:2 → b::c", "a:2 → b::c", "a:2 → b", "a:3 → b::c", "b::c:1 → a", "b::c:2 → b"];
        assert_eq!(all_named(files), expected);
    }

    #[test]
    fn a_re_export_leads_to_what_it_names() {
        let files = vec![
            file("x/src/main.rs", "pub use a::A as B;\nuse libc::c_int;\nmod a;\nmod b;\n"),
            file("x/src/a.rs", "struct A;\n"),
            file("x/src/b.rs", "use super::B;\nuse crate::c_int;\nfn f() { use crate::a::A; B::new() }\n"),
        ];
        assert_eq!(all_named(files), [":1 → a", "b:1 → ", "b:1 → a", "b:2 → ", "b:3 → a"]);
    }

    #[test]
    fn tests_use_what_they_like() {
        let text = "#[cfg(test)]\nmod t;\n#[cfg(all(test, not(miri)))]\nmod u { use crate::c; }\n\
                    struct S { #[cfg(test)] f: A<crate::c::C, u8>, g: crate::b::B, #[cfg(test)] h: crate::c::C }\n\
                    #[cfg(test)] use crate::{c};\n#[cfg(test)] fn f<A, B>(a: [u8; 2]) -> B { crate::c::d(); }\n\
                    mod i { fn f() { super::super::b::g() } }\n";
        let files = vec![
            file("x/src/lib.rs", "mod a;\nmod b;\nmod c;\nmod c_tests;\n"),
            file("x/src/a.rs", text),
            file("x/src/b.rs", ""),
            file("x/src/c.rs", ""),
            file("x/src/c_tests.rs", "use crate::c;"),
        ];
        assert_eq!(all_named(files), ["a:5 → b", "a::i:8 → b"]);
    }
}
