//! Imports: the standard library, other crates, our own; one group for each, with a blank line between.

use std::collections::BTreeSet;

use crate::rust::code_only;
use crate::{Problem, Tree};

/// The groups, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Standard,
    Crates,
    Own,
}

/// Imports are in three groups. Re-exports (`pub use`) are no imports, and stand where the crate's page wants them.
pub fn order(tree: &Tree) -> Vec<Problem> {
    const WANTED: &str =
        "first std, then other crates, then crate, self, super and child modules; a blank line between";
    let mut found = Vec::new();
    for file in tree.rust() {
        let code = code_only(file.text.as_deref().unwrap_or_default());
        let modules = child_modules(&code);
        let mut before: Option<Import> = None;
        for import in imports(&code, &modules) {
            if let Some(before) = before.as_ref().filter(|before| before.next(&import, &code)) {
                let gap = import.start - before.end > 1;
                if import.group < before.group {
                    found.push(Problem::new(file, import.start, format!("imports are out of order: {WANTED}")));
                } else if gap != (import.group > before.group) {
                    let what =
                        if gap { "parts a group of imports" } else { "is missing between two groups of imports" };
                    found.push(Problem::new(file, import.start, format!("a blank line {what}: {WANTED}")));
                }
            }
            before = Some(import);
        }
    }
    found
}

struct Import {
    /// The first line, from 1, its attributes included.
    start: usize,
    /// The last line.
    end: usize,
    indent: usize,
    group: Group,
}

impl Import {
    /// Whether nothing but blank lines is between this import and `other`.
    fn next(&self, other: &Self, code: &str) -> bool {
        let between = code.lines().take(other.start - 1).skip(self.end);
        self.indent == other.indent && between.into_iter().all(|line| line.trim().is_empty())
    }
}

fn imports(code: &str, modules: &BTreeSet<&str>) -> Vec<Import> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(path) = line.trim_start().strip_prefix("use ") else { continue };
        let attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        let length = lines[at..].iter().position(|line| line.trim_end().ends_with(';')).unwrap_or(0);
        found.push(Import {
            start: at + 1 - attributes.count(),
            end: at + 1 + length,
            indent: line.len() - line.trim_start().len(),
            group: group(path, modules),
        });
    }
    found
}

fn group(path: &str, modules: &BTreeSet<&str>) -> Group {
    let path = path.trim_start_matches("::");
    let root = &path[..path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len())];
    match root {
        "std" | "core" | "alloc" => Group::Standard,
        "crate" | "self" | "super" => Group::Own,
        // `use {crate::a, std::b}`, or a type of this file, is not written here.
        _ if modules.contains(root) => Group::Own,
        _ => Group::Crates,
    }
}

/// The modules that a file declares.
fn child_modules(code: &str) -> BTreeSet<&str> {
    let declared = code.lines().filter_map(|line| line.split_once("mod ")?.1.trim().strip_suffix(';'));
    declared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::lines_found;

    #[test]
    fn three_groups() {
        let good = "use std::io;\n\nuse libc::{\n    A,\n};\n#[cfg(test)]\nuse log::info;\n\n\
                    use crate::a;\nuse child::b;\n\nmod child;\n\nmod tests {\n    use super::*;\n}\n";
        assert_eq!(lines_found(order, "a.rs", good), []);
    }

    #[test]
    fn out_of_order_or_without_a_blank_line() {
        assert_eq!(lines_found(order, "a.rs", "use crate::a;\n\nuse std::io;\n"), [3]);
        assert_eq!(lines_found(order, "a.rs", "use std::io;\nuse libc::c_int;\n"), [2]);
        assert_eq!(lines_found(order, "a.rs", "use std::io;\n\nuse std::fs;\n"), [3]);
        assert_eq!(lines_found(order, "a.rs", "fn f() {\n    use super::*;\n    use proptest::any;\n}\n"), [3]);
    }
}
