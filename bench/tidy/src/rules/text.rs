//! What holds for every text.

use crate::{File, Problem, Tree};

const WIDTH_MAX: usize = 120;

/// No line is longer than [`WIDTH_MAX`], except where it cannot be broken: rows of tables, and one long word.
pub fn width(tree: &Tree) -> Vec<Problem> {
    let texts = tree.files.iter().filter(|file| {
        file.is_rust()
            || file.is_markdown()
            || file.is_script()
            || file.has_extension("toml")
            || file.has_extension("css")
    });
    let mut found = Vec::new();
    for file in texts {
        let can_break = |line: &str| !(file.is_markdown() && (line.starts_with('|') || is_one_word(line)));
        for (number, line) in file.lines() {
            let width = line.chars().count();
            if width > WIDTH_MAX && can_break(line) {
                let text = format!("the line has {width} columns: wrap it at {WIDTH_MAX}");
                found.push(Problem::new(file, number, text));
            }
        }
    }
    found
}

/// No blanks at the end of a line, and one line feed at the end of a file.
pub fn blanks(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines().filter(|(_, line)| line.ends_with([' ', '\t', '\r'])) {
            let width = line.trim_end().chars().count();
            found.push(Problem::new(file, number, format!("blanks after column {width}: remove them")));
        }
        let last = file.lines().count();
        match file.text.as_deref() {
            Some(text) if text.ends_with("\n\n") => {
                found.push(Problem::new(file, last, "the last line is empty: remove it"))
            }
            Some(text) if !text.is_empty() && !text.ends_with('\n') => {
                found.push(Problem::new(file, last, "the last line has no line feed: add one"));
            }
            _ => {}
        }
    }
    found
}

/// Nothing is left for later in the source.
pub fn todo(tree: &Tree) -> Vec<Problem> {
    // Put together here, so this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let is_mark = |word: &str| marks.contains(&word);
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines() {
            if let Some(mark) = line.split(|c: char| !c.is_alphanumeric()).find(|word| is_mark(word)) {
                let text = format!("{mark}: do it now, or open an issue and remove the mark");
                found.push(Problem::new(file, number, text));
            }
        }
    }
    found
}

/// Every file is text.
pub fn binary(tree: &Tree) -> Vec<Problem> {
    let binary = tree.files.iter().filter(|file| file.text.is_none());
    binary.map(|file| Problem::new(file, 1, "not text: do not commit it; make it when it is needed")).collect()
}

/// Written by a program, or the bytes that a test gives to one.
fn is_data(file: &File) -> bool {
    file.path == "Cargo.lock" || file.path.contains("/corpus/")
}

/// Such as an address behind the mark of a list. It begins with blanks, marks and one word without blanks.
fn is_one_word(line: &str) -> bool {
    let words = line.split_whitespace().filter(|word| word.contains(char::is_alphanumeric));
    words.count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::lines_found;

    #[test]
    fn lines_of_more_than_120_columns() {
        let (fits, too_long) = ("é ".repeat(60), "é ".repeat(61));
        assert_eq!(lines_found(width, "a.rs", &format!("{fits}\n{too_long}\n")), [2]);
        assert_eq!(lines_found(width, "a.md", &format!("| {too_long}\n* {}\n{too_long}\n", "é".repeat(200))), [3]);
        assert_eq!(lines_found(width, "a.txt", &too_long), []);
    }

    #[test]
    fn blanks_at_an_end() {
        assert_eq!(lines_found(blanks, "a.txt", "a \nb\n\nc"), [1, 4]);
        assert_eq!(lines_found(blanks, "a.txt", "a\n\n"), [2]);
        assert_eq!(lines_found(blanks, "a.txt", ""), []);
    }

    #[test]
    fn marks_of_what_is_left() {
        let text = concat!("// TO", "DO: more\n// the FIX", "ME\n// TO", "DOS\n");
        assert_eq!(lines_found(todo, "a.rs", text), [1, 2]);
    }

    #[test]
    fn bytes_that_are_no_text() {
        let files = vec![File { path: "a".to_owned(), text: None }];
        assert_eq!(binary(&Tree { files }).len(), 1);
    }
}
