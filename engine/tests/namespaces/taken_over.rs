//! A daemon that was taken over: what it answers gains nothing outside of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use ringfort_testbed::{janitor, uapi};
use serde_json::{Value, json};

use crate::harness::us;

/// Answers on the control socket of an interface that nobody has, until it is dropped.
struct Liar {
    interface: String,
    directory: PathBuf,
}

impl Liar {
    /// Who asks one of these questions is told this, and whatever else he wants is refused. Its port is 8.
    fn new(answers: impl Fn(&Liar) -> Vec<(&'static str, Value)>) -> Self {
        let interface = janitor::unique_name();
        let directory = janitor::directory().join(&interface);
        fs::create_dir_all(&directory).unwrap();
        let liar = Self { interface, directory };
        let answers = answers(&liar);
        let path = uapi::socket_path(&liar.interface);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = String::new();
                let _ = stream.read_to_string(&mut request);
                let answer = answers.iter().find(|(question, _)| request == format!("{question}=1\n\n"));
                let text = match answer {
                    Some((_, json)) => format!("json={json}\nerrno=0\n\n"),
                    None if request == "get=1\n\n" => "listen_port=8\nerrno=0\n\n".to_owned(),
                    None => "errno=1\n\n".to_owned(),
                };
                let _ = stream.write_all(text.as_bytes());
            }
        });
        liar
    }

    fn run(&self, command: &[&str]) -> (Output, String) {
        let output = Command::new(us().path).args(command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = fs::remove_file(uapi::socket_path(&self.interface));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A file that root would have made, with lines in it that the daemon has chosen.
#[test]
fn a_restart_starts_nothing_that_the_daemon_makes_up() {
    let liar = Liar::new(|liar| {
        let log = liar.directory.join("zz.sh");
        let arguments = ["-f", "--sandbox", "off", "--log", log.to_str().unwrap(), &liar.interface];
        let origin = json!({ "program": "/bin/sh", "arguments": arguments, "directory": "/", "environment": {} });
        let answer = json!({ "process": 1, "starts": false, "origin": origin, "failed_heirs": 0, "why": "" });
        vec![("origin", answer)]
    });
    let (output, said) = liar.run(&["restart", &liar.interface]);
    assert!(output.status.code() == Some(2) && said.contains("has to repeat that"), "{said}");
    assert_eq!(fs::read_dir(&liar.directory).unwrap().count(), 0);
}

/// The file is the daemon's word, and the peers are.
#[test]
fn a_save_writes_no_file_that_the_operator_does_not_mean() {
    const BEFORE: &str = "[Interface]\nListenPort = 7\n";
    let liar = Liar::new(|liar| {
        let file = liar.directory.join("other.conf");
        fs::write(&file, BEFORE).unwrap();
        vec![("file", json!({ "file": file, "up": true, "read_at": u64::MAX }))]
    });
    let mine = liar.directory.join(format!("{}.conf", liar.interface));
    fs::write(&mine, BEFORE).unwrap();
    for named in [liar.interface.as_str(), mine.to_str().unwrap()] {
        let (output, said) = liar.run(&["save", named]);
        let names_it = said.contains("other.conf") && said.contains(" --file /");
        assert!(output.status.code() == Some(2) && names_it, "{said}");
    }
    let (output, said) = liar.run(&["save", &liar.interface, "--file", mine.to_str().unwrap()]);
    assert!(output.status.code() == Some(2), "{said}");
    assert_eq!(fs::read_to_string(liar.directory.join("other.conf")).unwrap(), BEFORE);
}

/// Whoever reads the answer has a terminal.
#[test]
fn what_a_daemon_says_moves_no_cursor() {
    let lines = json!(["\u{1b}]0;taken over\u{7}", "a name with\ra return"]);
    let report = |ok| json!({ "reload": 1, "ok": ok, "system": false, "lines": lines });
    for ok in [true, false] {
        let liar = Liar::new(|_| vec![("reload", json!({ "reload": 1 })), ("report", report(ok))]);
        let (output, errors) = liar.run(&["reload", &liar.interface]);
        let said = String::from_utf8_lossy(&output.stdout) + errors.as_str();
        let (ends, returns) = (said.contains(r"\u{1b}]0;taken over\u{7}"), said.contains(r"with\ra return"));
        assert!(output.status.success() == ok && ends && returns, "{said:?}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
}
