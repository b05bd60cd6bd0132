//! `mistakes.txt` names text of today's source. Whether the simulator finds the mistakes, `scripts/simulate-mistakes`
//! says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../mistakes.txt");

/// One mistake, as the script reads it.
#[derive(Debug, Default)]
struct Entry<'a> {
    says: &'a str,
    /// File, old text, new text.
    changes: Vec<(&'a str, String, String)>,
}

/// The entries of the list. Panics at a line that the script does not understand either.
fn entries() -> Vec<Entry<'static>> {
    let text = |line: &str| line.strip_suffix('|').expect("text ends with a bar").replace("\\|", "|");
    let (mut entries, mut entry, mut file, mut old) = (Vec::new(), Entry::default(), "", None);
    for line in LIST.lines().chain([""]) {
        if let Some(says) = line.strip_prefix('#') {
            entry.says = says.trim();
        } else if let Some(name) = line.strip_prefix("file ") {
            file = name;
        } else if let Some(line) = line.strip_prefix("old |") {
            assert!(old.replace(text(line)).is_none(), "{line:?} follows an old text");
        } else if let Some(line) = line.strip_prefix("new |") {
            entry.changes.push((file, old.take().expect("new text follows old text"), text(line)));
        } else {
            assert!(line.is_empty() || line.starts_with("survives "), "{line:?} is not understood");
            if line.is_empty() && !entry.changes.is_empty() {
                entries.push(std::mem::take(&mut entry));
            }
        }
    }
    entries
}

#[test]
fn each_mistake_changes_text_that_is_in_the_source_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let entries = entries();
    assert!(entries.len() > 30, "{} entries", entries.len());
    for Entry { says, changes } in &entries {
        assert!(!says.is_empty(), "{changes:?} does not say what is wrong");
        // Texts of one entry are replaced one after the other.
        let mut sources = BTreeMap::new();
        for (file, old, new) in changes {
            let source = sources
                .entry(file)
                .or_insert_with(|| fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")));
            assert_eq!(source.matches(old.as_str()).count(), 1, "in {file}: |{old}|: {says}");
            assert!(!old.is_empty() && old != new, "in {file}: |{old}|: {says}");
            *source = source.replace(old.as_str(), new);
        }
    }
}
