//! The page that says which test notices what.

use crate::{File, Problem, Tree};

/// Each line of it names tests, or says why there is none.
const PAGE: &str = "engine/tests/ROBUSTNESS.md";
/// How a reason for having no test begins.
const EXCUSE: &str = "* Not tested: ";

/// Every test that the page names is in the file that it names, and no line is without one.
pub fn named_tests(tree: &Tree) -> Vec<Problem> {
    let Some(page) = tree.files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let mut found = Vec::new();
    let mut promise = None;
    let mut file = None;
    for (number, line) in page.lines() {
        if line.starts_with("**") {
            found.extend(promise.replace(number).map(|line| nothing_behind(page, line)));
        }
        if line.starts_with("* ") {
            promise = None;
            file = path_of(line);
            let is_there = |path| tree.files.iter().any(|file| file.path == path);
            if !line.starts_with(EXCUSE) && !file.is_some_and(is_there) {
                found.push(Problem::new(page, number, "name a file that is there, as in * `path.rs`: `test`, `test`"));
                file = None;
            }
        }
        let Some(path) = file.filter(|_| line.starts_with("* ") || line.starts_with("  ")) else { continue };
        let code = tree.files.iter().find(|file| file.path == path).and_then(|file| file.text.as_deref());
        let is_missing = |name: &&str| !code.is_some_and(|code| code.contains(&format!("fn {name}(")));
        let missing = quoted(line).filter(|name| *name != path).filter(is_missing);
        found.extend(missing.map(|name| Problem::new(page, number, format!("no test `{name}` is in {path}"))));
    }
    found.extend(promise.map(|line| nothing_behind(page, line)));
    found
}

fn nothing_behind(page: &File, line: usize) -> Problem {
    Problem::new(
        page,
        line,
        "no test is named: write one and name it, or begin a line with `* Not tested:` and say why",
    )
}

/// The path at the beginning of an item.
fn path_of(item: &str) -> Option<&str> {
    item.strip_prefix("* `")?.split_once("`:").map(|(path, _)| path)
}

/// What stands between backquotes.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(page: &str) -> Vec<usize> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: Some(text.to_owned()) };
        let tree = Tree { files: vec![file(PAGE, page), file("a/b.rs", "fn one() {}\nfn other() {}\n")] };
        named_tests(&tree).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn named_tests_are_there() {
        assert_eq!(lines("# A\n\n**1.** All `is` well.\n\n* `a/b.rs`: `one`,\n  `other`\n"), []);
        assert_eq!(lines("**1.** Well.\n\n* Not tested: nobody can.\n"), []);
        assert_eq!(lines("**1.** Ill.\n\n* `a/b.rs`: `one`,\n  `on`\n"), [4]);
        assert_eq!(lines("**1.** Ill.\n\n* `a/c.rs`: `one`\n"), [3]);
        assert_eq!(lines("**1.** Ill.\n\n* a/b.rs: one\n"), [3]);
    }

    #[test]
    fn no_line_is_without_a_test() {
        assert_eq!(lines("**1.** Ill.\n\n**2.** Well.\n\n* `a/b.rs`: `one`\n\n**3.** Ill.\n"), [1, 7]);
    }
}
