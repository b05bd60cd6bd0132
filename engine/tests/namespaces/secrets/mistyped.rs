//! A key that was mistyped stands in no answer, no error and no log, wherever it was given.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use ringfort_testbed::{Daemon, Key, KeyPair, Namespace, janitor, uapi};

use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us};

/// What is shown of a secret at most, in characters.
const SHOWN_MAX: usize = 7;

/// What becomes of a key under the hands of people and programs.
fn slips(key: &Key) -> Vec<String> {
    let mut slips = Vec::new();
    for text in [key.hex(), key.base64()] {
        let (first, second) = text.split_at(text.len() / 2);
        slips.extend([first, &text[1..], &text[..text.len() - 1]].map(str::to_owned));
        slips.extend([format!("{text}{text}"), format!("{first}!{}", &second[1..]), format!("{first} {second}")]);
    }
    slips
}

fn assert_nothing_is_told(text: &str, key: &Key, what: &str) {
    for secret in [key.hex(), key.base64(), key.hex().to_uppercase()] {
        for start in 0..secret.len() - SHOWN_MAX {
            let part = &secret[start..=start + SHOWN_MAX];
            assert!(!text.contains(part), "{what}: {part} in: {text}");
        }
    }
}

/// Whatever comes back until the gateway hangs up.
fn answer(interface: &str, request: &str) -> String {
    let mut stream = UnixStream::connect(uapi::socket_path(interface)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn on_the_control_socket() {
    let (namespace, key) = (Namespace::new().unwrap(), Key::random().unwrap());
    let program = us().with_options("--log-level trace");
    let mut daemon = Daemon::start(&program, &namespace, &janitor::unique_name()).unwrap();
    let interface = daemon.interface().to_owned();
    let peer = KeyPair::random().unwrap().public.hex();
    let mut refusals = 0;
    for slip in slips(&key) {
        for request in [
            format!("set=1\nprivate_key={slip}\n\n"),
            format!("set=1\nprivatekey={slip}\n\n"),
            format!("set=1\n{slip}\n\n"),
            format!("set=1\npublic_key={slip}\n\n"),
            format!("set=1\npublic_key={peer}\npreshared_key={slip}\n\n"),
            format!("set=1\npublic_key={peer}\npsk={slip}\n\n"),
            format!("set=1\npublic_key={peer}\nendpoint={slip}\n\n"),
            format!("set=1\nprivate_key={slip}"),
            format!("set={slip}\n\n"),
            format!("why={slip}\n\n"),
            format!("get=1\n{slip}\n\n"),
            format!("{slip}\n\n"),
        ] {
            let answer = answer(&interface, &request);
            refusals += usize::from(answer.contains("errno=-"));
            assert_nothing_is_told(&answer, &key, &request);
        }
    }
    assert!(refusals >= slips(&key).len() * 8, "most of them are refused: {refusals}");
    let is_said = || daemon.log().contains("a request on the control socket is refused");
    eventually(PATIENCE, "the log says what was wrong", is_said);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait(PATIENCE).unwrap().success());
    assert_nothing_is_told(&daemon.log(), &key, "the log");
}

/// A file with this key of the interface and this line in the section of its peer.
fn write(path: &Path, private: &str, line: &str) {
    let peer = KeyPair::random().unwrap().public.base64();
    std::fs::write(path, format!("[Interface]\n{private}\n[Peer]\nPublicKey = {peer}\n{line}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// At a check, a start and a reload; and by what the gateway writes when it is told to read again by a signal.
#[test]
fn in_a_file() {
    let (namespace, key) = (Namespace::new().unwrap(), Key::random().unwrap());
    let good = format!("PrivateKey = {}", KeyPair::random().unwrap().private.base64());
    let path = janitor::directory().join(format!("{}.conf", janitor::unique_name()));
    let interface = path.file_stem().unwrap().to_str().unwrap().to_owned();
    write(&path, &good, "");
    let mut command = namespace.command(us().path);
    command.args(["up", "--foreground", "--log-level", "trace"]).arg(&path);
    let mut daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it serves", || uapi::get(&interface).is_ok());
    let ringfort = |words: &[&str], path: &Path| {
        let output = namespace.command(us().path).args(words).arg(path).output().unwrap();
        // Who checks a file need not be who may read the key.
        assert!(!output.status.success() || words == ["check"], "{words:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let other = path.with_file_name(format!("{}.conf", janitor::unique_name()));
    for slip in slips(&key) {
        for (private, line) in [
            (format!("PrivateKey = {slip}"), String::new()),
            (format!("PrivateKeyFile = {slip}"), String::new()),
            (format!("PrivatKey = {slip}"), String::new()),
            (good.clone(), format!("PresharedKey = {slip}")),
            (good.clone(), slip.clone()),
        ] {
            let what = format!("{private} {line}").replace(&good, "");
            write(&other, &private, &line);
            assert_nothing_is_told(&ringfort(&["check"], &other), &key, &what);
            assert_nothing_is_told(&ringfort(&["up", "--foreground"], &other), &key, &what);
            write(&path, &private, &line);
            assert_nothing_is_told(&ringfort(&["reload"], &path), &key, &what);
        }
    }
    daemon.signal(Signal::SIGHUP);
    let is_said = || daemon.log().contains("neither a section nor a setting");
    eventually(PATIENCE, "the log says what was wrong", is_said);
    write(&path, &good, "");
    let end = Command::new(us().path).arg("down").arg(&interface).output().unwrap();
    assert!(end.status.success(), "{end:?}");
    daemon.wait(PATIENCE).unwrap();
    assert_nothing_is_told(&daemon.log(), &key, "the log");
}
