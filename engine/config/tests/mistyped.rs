//! A key that was mistyped is not told, in whatever place it stands.

use std::path::Path;

use ringfort_config::{KeyFiles, Memory, load, settings};

const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
/// The same in hexadecimal, as programs have it.
const HEX: &str = "c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669";
const PUBLIC: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
/// What is shown of a secret at most.
const SHOWN_MAX: usize = 7;

/// What becomes of a key under the hands of people.
fn slips() -> Vec<String> {
    let mut slips = vec![HEX.to_owned(), HEX.to_uppercase()];
    for key in [KEY, HEX] {
        let (first, second) = key.split_at(key.len() / 2);
        slips.extend([first, second, &key[1..], &key[..key.len() - 1]].map(str::to_owned));
        slips.extend([format!("{key}{key}"), format!("{key}A"), format!("{first} {second}"), format!("{key}:51820")]);
        slips.extend(["!", "-", ",", "#", "\"", "\u{e9}"].map(|wrong| format!("{first}{wrong}{}", &second[1..])));
    }
    slips
}

fn assert_nothing_is_told(text: &str, what: &str) {
    for secret in [KEY, HEX, &HEX.to_uppercase()] {
        for start in 0..secret.len() - SHOWN_MAX {
            let part = &secret[start..=start + SHOWN_MAX];
            assert!(!text.contains(part), "{what}: {part} in: {text}");
        }
    }
}

/// Returns whether the file was refused.
fn is_refused(files: &Memory, what: &str) -> bool {
    let (printed, shown, is_refused) = match load(Path::new("wg0.conf"), files, KeyFiles::Needed) {
        Ok(loaded) => {
            let texts: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            (texts.join("\n"), format!("{:?}", loaded.warnings), false)
        }
        Err(mistakes) => (mistakes.to_string(), format!("{mistakes:?}"), true),
    };
    assert_nothing_is_told(&printed, what);
    assert_nothing_is_told(&shown, what);
    is_refused
}

fn file(text: &str) -> Memory {
    Memory::new([("wg0.conf", text.as_bytes())])
}

/// The value of each setting, for a slip of the line or of the mind. `Include` names files that are there or not.
#[test]
fn as_a_value() {
    for setting in settings().iter().filter(|setting| setting.name != "Include") {
        for slip in slips() {
            let section = setting.section;
            let is_of_peer = section == "[Peer]" && setting.name != "PublicKey";
            let needs = if is_of_peer { format!("PublicKey = {PUBLIC}\n") } else { String::new() };
            let what = format!("{section} {} = {slip}", setting.name);
            let refused = is_refused(&file(&format!("{section}\n{needs}{} = {slip}\n", setting.name)), &what);
            assert!(refused || !["PrivateKey", "PresharedKey", "PrivateKeyFile"].contains(&setting.name), "{what}");
        }
    }
}

/// Where there is no setting, or another one.
#[test]
fn on_a_line_that_is_none() {
    let key = KEY.to_owned();
    for slip in slips().into_iter().chain([key]) {
        for line in [
            slip.clone(),
            format!("PrivateKey {slip}"),
            format!("PrivateKey: {slip}"),
            format!("PrivatKey = {slip}"),
            format!("{slip} = PrivateKey"),
            format!("#ringfort: PrivateKey = {slip}"),
            format!("#ringfort: PrivatKey = {slip}"),
            format!("PresharedKey = {slip}"),
            format!("[{slip}]"),
            format!("[Interface] PrivateKey = {slip}"),
        ] {
            for before in ["", "[Interface]\n", "[Interface\n", "[Peer]\n"] {
                let what = format!("{before}{line}");
                assert!(is_refused(&file(&format!("{what}\n[Peer]\n")), &what), "{what}");
            }
        }
    }
}

/// In a file of its own, and as the name of one.
#[test]
fn in_the_file_of_a_key() {
    for slip in slips() {
        let config = b"[Interface]\nPrivateKeyFile = key\n";
        let files = Memory::new([("wg0.conf", &config[..]), ("key", slip.as_bytes())]);
        assert!(is_refused(&files, &slip), "{slip}");
    }
    let files = Memory {
        credentials: Some("/run/credentials".into()),
        ..file(&format!("[Interface]\nPrivateKeyFile = {KEY}\n"))
    };
    assert!(is_refused(&files, "the key itself in place of its file"));
    let text = format!("[Interface]\nPrivateKeyFile = $CREDENTIALS_DIRECTORY/{KEY}\n");
    let files = Memory { credentials: Some("/run/credentials".into()), ..file(&text) };
    assert!(is_refused(&files, "the key itself in place of a credential"));
}
