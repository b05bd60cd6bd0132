//! Lengths of functions and files, and where modules lie.

use std::collections::BTreeSet;

use crate::rust::{code_only, functions as functions_of};
use crate::{Problem, Tree};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 400;
/// A file of tests is a list of cases: it is read in pieces.
const TEST_FILE_LINES_MAX: usize = 500;

/// No function is longer than [`FUNCTION_LINES_MAX`].
pub fn functions(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let code = code_only(file.text.as_deref().unwrap_or_default());
        for function in functions_of(&code).iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            let text = format!(
                "function `{}` has {} lines: make functions of its parts, {FUNCTION_LINES_MAX} lines at most",
                function.name, function.lines
            );
            found.push(Problem::new(file, function.line, text));
        }
    }
    found
}

/// No file of Rust is longer than [`FILE_LINES_MAX`], or [`TEST_FILE_LINES_MAX`].
pub fn files(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for file in tree.rust() {
        let (lines, most) = (file.lines().count(), if file.is_test() { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX });
        if lines > most {
            let text = format!("the file has {lines} lines: move a subject to a file of its own, {most} lines at most");
            found.push(Problem::new(file, most + 1, text));
        }
    }
    found
}

/// A module with children is `name/mod.rs`, never `name.rs` beside `name/`.
pub fn module_style(tree: &Tree) -> Vec<Problem> {
    let directories: BTreeSet<&str> = tree.rust().filter_map(|file| Some(file.path.rsplit_once('/')?.0)).collect();
    let mut found = Vec::new();
    for file in tree.rust() {
        let directory = file.path.trim_end_matches(".rs");
        if directories.contains(directory) {
            found.push(Problem::new(
                file,
                1,
                format!("the module has a directory: git mv {0}.rs {0}/mod.rs", directory),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;
    use crate::rules::tests::lines_found;

    #[test]
    fn a_function_of_71_lines() {
        let of = |lines: usize| format!("fn f() {{\n{}}}\n", "\n".repeat(lines - 2));
        assert_eq!(lines_found(functions, "a.rs", &(of(FUNCTION_LINES_MAX) + &of(FUNCTION_LINES_MAX + 1))), [71]);
    }

    #[test]
    fn a_file_of_401_lines() {
        let text = "\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(lines_found(files, "src/a.rs", &text), [401]);
        for test in ["src/a_tests.rs", "src/a/tests.rs", "tests/a/b.rs"] {
            assert_eq!(lines_found(files, test, &text), []);
        }
    }

    #[test]
    fn a_file_beside_its_directory() {
        let file = |path: &str| File { path: path.to_owned(), text: Some(String::new()) };
        let files = ["a/src/b.rs", "a/src/b/c.rs", "a/src/d/mod.rs", "a/src/d/e.rs"].map(file).into();
        let found = module_style(&Tree { files });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "the module has a directory: git mv a/src/b.rs a/src/b/mod.rs");
    }
}
