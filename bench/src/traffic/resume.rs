//! A search that goes on: sizes that its file has already are not searched again.

use std::path::Path;

use ringfort_testbed::{Error, Result};
use ringfort_traffic::Size;

use crate::results::files::{self, Carried, File, Head, Rfc2544, Sized, TRAFFIC};

/// Options that say where results go, and not what is measured.
const OF_FILES: [&str; 2] = ["--json", "--resume"];

/// The sizes in a file that have been searched. `fresh` is how a file of this command line begins: it must be the same
/// search of these sizes.
///
/// # Errors
/// The file cannot be read, or it is another search; the error says in what.
pub fn searched(path: &Path, sizes: &[Size], fresh: &Head) -> Result<Vec<Sized>> {
    let file: File<Carried> = files::resumed(path, TRAFFIC)?;
    let Carried::Rfc2544(found) = file.findings else {
        return Err(Error::new(format!("--resume: {} is no file of rfc2544", path.display())));
    };
    match difference(&file.head, &found, sizes, fresh) {
        None => Ok(found.sizes),
        Some(difference) => Err(files::is_another("search", path, &difference, &file.head.command)),
    }
}

/// What is not the same, if anything.
fn difference(earlier: &Head, found: &Rfc2544, sizes: &[Size], fresh: &Head) -> Option<String> {
    let begins_alike = found.sizes.iter().map(|sized| sized.size).eq(sizes.iter().copied().take(found.sizes.len()));
    if !begins_alike || options(&earlier.command) != options(&fresh.command) {
        return Some("its options are others".to_owned());
    }
    earlier.difference(fresh)
}

/// The words of a command line after the program, without [`OF_FILES`].
fn options(command: &[String]) -> Vec<&str> {
    let mut words = command.iter().skip(1).map(String::as_str);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        if OF_FILES.contains(&word) {
            words.next();
        } else if !OF_FILES.iter().any(|name| word.split_once('=').is_some_and(|(option, _)| option == *name)) {
            options.push(word);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::stamp::Stamp;

    #[test]
    fn where_results_go_is_no_other_search() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let begun = words("bench rfc2544 --sizes 64,imix --json a.json --repeats 1");
        let resumed = words("/opt/bench rfc2544 --sizes 64,imix --repeats 1 --resume=a.json");
        assert_eq!(options(&begun), options(&resumed));
        assert_ne!(options(&begun), options(&words("bench rfc2544 --sizes 64,imix --repeats 3")));
    }

    #[test]
    fn the_same_search_goes_on_and_another_does_not() {
        let file: File<Carried> = serde_json::from_str(&synthetic::others()[1]).unwrap();
        let Carried::Rfc2544(found) = file.findings else { panic!("that is another kind") };
        let sizes: Vec<Size> = found.sizes.iter().map(|sized| sized.size).collect();
        let fresh = Head { stamp: Stamp::take(), ..file.head.clone() };
        let differs = |sizes: &[Size], fresh: &Head| difference(&file.head, &found, sizes, fresh);
        assert_eq!(differs(&sizes, &fresh), None);
        assert_eq!(differs(&[&sizes[..], &[Size::Fixed { bytes: 128 }]].concat(), &fresh), None, "one is missing");
        assert!(differs(&sizes[..1], &fresh).unwrap().contains("options"));
        let mut other = fresh.clone();
        other.contender.sha256 = Some("00".to_owned());
        assert!(differs(&sizes, &other).unwrap().contains("another build"));
        other = fresh.clone();
        other.command.push("--gso".to_owned());
        assert!(differs(&sizes, &other).unwrap().contains("options"));
    }
}
