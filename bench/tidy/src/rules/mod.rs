//! The rules, each with its reason.

use crate::{Problem, Tree};

mod circles;
mod imports;
mod prose;
mod sizes;
mod survival;
mod text;

/// A rule of the house.
pub struct Rule {
    /// A word for it.
    pub name: &'static str,
    /// Why it is there.
    pub reason: &'static str,
    pub(crate) check: fn(&Tree) -> Vec<Problem>,
}

/// All of them.
pub const RULES: &[Rule] = &[
    Rule {
        name: "width",
        reason: "two files side by side fit on a screen, and a diff needs no scrolling",
        check: text::width,
    },
    Rule {
        name: "blanks",
        reason: "an editor that removes trailing blanks must not make a diff of its own",
        check: text::blanks,
    },
    Rule { name: "todo", reason: "what is missing belongs in an issue, where somebody sees it", check: text::todo },
    Rule {
        name: "binary",
        reason: "nobody can review a file that is not text, and Git keeps each version of it for ever",
        check: text::binary,
    },
    Rule {
        name: "function length",
        reason: "a function that fits on a screen can be understood without scrolling",
        check: sizes::functions,
    },
    Rule { name: "file length", reason: "a file is one subject; what is longer is two", check: sizes::files },
    Rule {
        name: "module style",
        reason: "a module with children is one directory, so it moves as one, and nobody looks in two places",
        check: sizes::module_style,
    },
    Rule {
        name: "imports",
        reason: "one order shows at once what a file takes from where, and rustfmt sorts within a group only",
        check: imports::order,
    },
    Rule {
        name: "circles",
        reason: "modules that use each other can only be understood, tested and moved together",
        check: circles::circles,
    },
    Rule {
        name: "plain words",
        reason: "many readers learnt English later: these constructions stopped them",
        check: prose::plain_words,
    },
    Rule {
        name: "sentence length",
        reason: "a sentence of more than 30 words holds more than one thought",
        check: prose::sentence_length,
    },
    Rule {
        name: "named tests",
        reason: "a promise whose test was renamed or removed is one that nobody keeps",
        check: survival::named_tests,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    /// The lines on which a rule finds something in a file.
    pub(super) fn lines_found(check: fn(&Tree) -> Vec<Problem>, path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.to_owned(), text: Some(text.to_owned()) };
        check(&Tree { files: vec![file] }).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
