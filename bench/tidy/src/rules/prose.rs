//! Plain words and short sentences.

use crate::prose::{Word, paragraphs, sentences, word_count};
use crate::{File, Problem, Tree};

const SENTENCE_WORDS_MAX: usize = 30;

/// What stopped readers, and what to say instead. All of it in lower case.
const CONSTRUCTIONS: &[(&str, &str)] = &[
    ("but for", "`except`, or `without`"),
    ("so that", "`so` for a result; `to` for a purpose"),
    ("is to be", "`must be`, or who does it"),
    ("are to be", "`must be`, or who does it"),
    ("comes by", "`arrives on`"),
    ("come by", "`arrive on`"),
    ("goes by", "`is handled by`, `leaves through`, `uses`"),
    ("go by", "`are handled by`, `leave through`, `use`"),
    ("holds against", "`compares with`"),
    ("held against", "`compared with`"),
    ("hold against", "`compare with`"),
    ("there is but", "`there is only`"),
    ("for want of", "`without`, or what is missing"),
];

/// No construction of the list is in Markdown or in comments.
pub fn plain_words(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for file in &tree.files {
        for paragraph in paragraphs(file) {
            let words: Vec<String> = paragraph.iter().map(Word::bare).collect();
            for (at, word) in paragraph.iter().enumerate() {
                let purpose = is_purpose(file, &paragraph[..at]);
                let is_it =
                    |construction| begins_with(&words[at..], construction) && !(purpose && construction == "so that");
                for (construction, instead) in CONSTRUCTIONS.iter().filter(|(construction, _)| is_it(construction)) {
                    found.push(Problem::new(file, word.line, format!("\"{construction}\": say {instead}")));
                }
            }
        }
    }
    found
}

/// No sentence of the Markdown pages is longer than [`SENTENCE_WORDS_MAX`].
pub fn sentence_length(tree: &Tree) -> Vec<Problem> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_markdown()) {
        for paragraph in paragraphs(file) {
            for sentence in sentences(&paragraph).filter(|sentence| word_count(sentence) > SENTENCE_WORDS_MAX) {
                let begin: Vec<&str> = sentence.iter().take(4).map(|word| word.text.as_str()).collect();
                let text = format!(
                    "the sentence \"{} …\" has {} words: make two of it, {SENTENCE_WORDS_MAX} words each at most",
                    begin.join(" "),
                    word_count(sentence)
                );
                found.push(Problem::new(file, sentence[0].line, text));
            }
        }
    }
    found
}

fn begins_with(words: &[String], construction: &str) -> bool {
    let mut words = words.iter();
    construction.split(' ').all(|word| words.next().is_some_and(|next| next == word))
}

/// Whether a `so that` behind these words says what for. In comments it does, unless a comma is before it.
fn is_purpose(file: &File, before: &[Word]) -> bool {
    !file.is_markdown() && !before.last().is_some_and(|word| word.text.ends_with(','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::lines_found;

    #[test]
    fn constructions_across_lines() {
        assert_eq!(lines_found(plain_words, "a.rs", "// All but\n// for one is\n// to be, so that\n"), [1, 2, 3]);
        assert_eq!(lines_found(plain_words, "a.rs", "// He waits so that she can.\nlet s = \"but for\";\n"), []);
        assert_eq!(lines_found(plain_words, "a.md", "He waits so that she can.\n"), [1]);
    }

    #[test]
    fn sentences_of_31_words() {
        let sentence = |words: usize| format!("{}.\n", vec!["word"; words].join(" "));
        assert_eq!(lines_found(sentence_length, "a.md", &(sentence(30) + &sentence(31))), [2]);
    }
}
