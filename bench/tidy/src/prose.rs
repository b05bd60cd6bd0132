//! The prose of Markdown and of comments, as paragraphs of words that know their lines.

use crate::rust::comment_lines;
use crate::tree::File;

/// A word, with the punctuation that touches it. What stands between backquotes is one word.
pub struct Word {
    /// From 1.
    pub line: usize,
    /// As it is written.
    pub text: String,
}

impl Word {
    /// Lower case, without punctuation around it. Empty if there is nothing else.
    pub fn bare(&self) -> String {
        self.text.trim_matches(|c: char| !c.is_alphanumeric() && c != '`').to_lowercase()
    }

    fn ends_sentence(&self) -> bool {
        let text = self.text.trim_end_matches(['"', ')', '*', '_', '”']);
        text.ends_with(['.', '!', '?']) && !["e.g.", "i.e.", "cf."].contains(&text)
    }
}

/// Paragraphs: of Markdown also each item of a list and each cell of a table, without headings and blocks of code.
pub fn paragraphs(file: &File) -> Vec<Vec<Word>> {
    let Some(text) = &file.text else { return Vec::new() };
    let mut builder = Builder::default();
    if file.is_markdown() {
        for (line, text) in file.lines() {
            builder.line(line, text);
        }
    } else if file.is_rust() {
        let (mut next, mut kind) = (0, "");
        for comment in comment_lines(text) {
            if comment.line != next || comment.marker != kind {
                builder.end_block();
            }
            builder.line(comment.line, comment.text);
            (next, kind) = (comment.line + 1, comment.marker);
        }
    } else if file.is_script() {
        for (line, text) in file.lines() {
            match text.trim_start().strip_prefix("# ") {
                Some(text) => builder.line(line, text),
                None => builder.end_block(),
            }
        }
    }
    builder.end_block();
    builder.paragraphs
}

/// The sentences of a paragraph.
pub fn sentences(paragraph: &[Word]) -> impl Iterator<Item = &[Word]> {
    paragraph.split_inclusive(Word::ends_sentence)
}

/// How many words are read: a dash is none.
pub fn word_count(sentence: &[Word]) -> usize {
    sentence.iter().filter(|word| word.text.contains(char::is_alphanumeric)).count()
}

#[derive(Default)]
struct Builder {
    paragraphs: Vec<Vec<Word>>,
    current: Vec<Word>,
    in_code: bool,
}

impl Builder {
    fn line(&mut self, number: usize, line: &str) {
        let text = line.trim();
        if text.starts_with("```") {
            self.end_paragraph();
            self.in_code = !self.in_code;
        } else if self.in_code {
        } else if text.starts_with('|') {
            for cell in text.split('|') {
                self.end_paragraph();
                self.words(number, cell);
            }
            self.end_paragraph();
        } else if text.is_empty() || text.starts_with('#') {
            self.end_paragraph();
        } else if let Some(item) = item(text) {
            self.end_paragraph();
            self.words(number, item);
        } else {
            self.words(number, text);
        }
    }

    fn words(&mut self, line: usize, text: &str) {
        let mut word = String::new();
        let mut quoted = false;
        for c in text.chars() {
            quoted ^= c == '`';
            if !c.is_whitespace() || quoted {
                word.push(c);
            } else if !word.is_empty() {
                self.current.push(Word { line, text: std::mem::take(&mut word) });
            }
        }
        if !word.is_empty() {
            self.current.push(Word { line, text: word });
        }
    }

    fn end_paragraph(&mut self) {
        if !self.current.is_empty() {
            self.paragraphs.push(std::mem::take(&mut self.current));
        }
    }

    fn end_block(&mut self) {
        self.end_paragraph();
        self.in_code = false;
    }
}

/// What follows the mark of a list, if a line has one.
fn item(text: &str) -> Option<&str> {
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = behind.strip_prefix(". ").filter(|_| behind.len() < text.len());
    text.strip_prefix("* ").or(text.strip_prefix("- ")).or(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(path: &str, text: &str) -> Vec<Vec<usize>> {
        let file = File { path: path.to_owned(), text: Some(text.to_owned()) };
        paragraphs(&file).iter().map(|paragraph| sentences(paragraph).map(word_count).collect()).collect()
    }

    #[test]
    fn markdown() {
        let text = "# A heading\n\nOne two. Three\nfour (`five six`)!\n* 1.8 items\n1. more – yes\n\n\
                    ```\ncode\n```\n\n| a b | c |";
        assert_eq!(counts("a.md", text), [vec![2, 3], vec![2], vec![2], vec![2], vec![1]]);
    }

    #[test]
    fn comments() {
        let text = "//! One two.\n//!\n//! Three.\n/// Four\nfn five() {} // six\n    // Seven.\n";
        assert_eq!(counts("a.rs", text), [vec![2], vec![1], vec![1], vec![1]]);
    }
}
