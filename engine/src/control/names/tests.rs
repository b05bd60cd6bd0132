use std::net::SocketAddr;

use nix::net::if_::if_nametoindex;

use super::test::{names, names_by, nobody};
use super::*;
use crate::control::names::Names;

/// `cargo test`, unlike nextest, has other tests in the process. If one of them has a lock when [`names`] forks it,
/// what needs the lock hangs, and fails its test.
const HANGS_MS: u16 = 50_000;

/// What comes next.
fn next(names: &Names) -> io::Result<(u64, Outcome)> {
    loop {
        let ready = poll(&mut [PollFd::new(names.as_fd(), PollFlags::POLLIN)], HANGS_MS).unwrap();
        assert_ne!(ready, 0, "nobody answers");
        match names.answer()? {
            Some(Answer::Ended { number, outcome }) => return Ok((number, outcome)),
            other => assert!(other.is_none(), "{other:?}"),
        }
    }
}

#[test]
fn names_have_addresses_and_some_have_none() {
    let names = names();
    // An address behind an interface is a name, too: it has the interface's number.
    for (number, host) in [(3, "127.0.0.2"), (4, "::1"), (5, "fe80::1%lo"), (6, "no-such-name.invalid"), (7, "")] {
        names.ask(number, host).unwrap();
    }
    let mut answers: Vec<_> = (3..8).map(|_| next(&names).unwrap()).collect();
    answers.sort_by_key(|(number, _)| *number);
    let found = |addr: &str| Outcome::Found(addr.parse::<SocketAddr>().unwrap());
    let behind = format!("[fe80::1%{}]:0", if_nametoindex("lo").unwrap());
    assert_eq!(answers[..3], [(3, found("127.0.0.2:0")), (4, found("[::1]:0")), (5, found(&behind))]);
    assert!(answers[3..].iter().all(|(_, outcome)| matches!(outcome, Outcome::Failed(_))), "{answers:?}");
}

#[test]
fn a_name_that_is_too_long_is_not_asked_for() {
    let refused = names().ask(1, &"x".repeat(NAME_LEN_MAX + 1)).unwrap_err().to_string();
    assert!(refused.contains("253 bytes"), "{refused}");
}

/// Whatever a lookup does, others are answered, and it is said what was. What it says is one line.
#[test]
fn a_lookup_that_crashes_or_rambles_disturbs_nobody() {
    let names = names_by(PATIENCE, |host| match host {
        "crashes" => {
            let _ = kill(Pid::this(), Signal::SIGKILL);
            Outcome::failed("unreachable")
        }
        "forges" => Outcome::Failed("gone\n2030-01-01 ERROR wg0: \x1b[2Jforged".to_owned()),
        "rambles" => Outcome::Failed("x".repeat(1 << 20)),
        host => look_up(host),
    });
    let hosts = ["crashes", "rambles", "forges", "127.0.0.3"];
    let expected = ["has crashed", "says too much", "gone; 2030-01-01 ERROR wg0: \\u{1b}[2Jforged", "127.0.0.3:0"];
    // More than are under way at once.
    let count = 24;
    for number in 0..count {
        names.ask(number, hosts[number as usize % 4]).unwrap();
    }
    for _ in 0..count {
        let (number, outcome) = next(&names).unwrap();
        let said = match outcome {
            Outcome::Found(addr) => addr.to_string(),
            Outcome::Failed(why) => why,
        };
        assert!(said.contains(expected[number as usize % 4]), "{number}: {said}");
    }
}

/// Those behind it have their turn: this is more than are under way at once.
#[test]
fn a_lookup_that_hangs_is_ended() {
    let names = names_by(Duration::from_millis(20), |_| {
        loop {
            std::thread::park();
        }
    });
    let count = AT_ONCE as u64 + 1;
    (0..count).for_each(|number| names.ask(number, "hangs").unwrap());
    let mut numbers: Vec<_> = (0..count).map(|_| next(&names).unwrap()).collect();
    numbers.sort_by_key(|(number, _)| *number);
    let expected = |number| (number, Outcome::failed("the resolver says nothing for 20ms"));
    assert_eq!(numbers, (0..count).map(expected).collect::<Vec<_>>());
}

#[test]
fn a_process_that_is_gone_is_named() {
    let names = nobody();
    for error in [names.ask(1, "localhost").unwrap_err(), next(&names).unwrap_err()] {
        assert!(error.to_string().contains("restart the gateway"), "{error}");
    }
}
