//! Keys leave the memory of the gateway when they should, and lie nowhere but where they must until then.
//!
//! The peer is played here, so all keys are known: the static and the preshared key, the Diffie-Hellman of both static
//! keys, and those of each session. The gateway's memory is searched for them, and for pieces of them, at each point of
//! a session's life.

mod client;
mod mistyped;
mod stage;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use ringfort_core::suite::Suite;
use ringfort_testbed::command::run;
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Daemon, Key, KeyPair, Namespace, janitor, uapi};

use self::stage::{Stage, Where};
use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us, wg};

/// Sessions that a peer may have at once: three that only receive, and the one to send with.
const SESSIONS_KEPT: usize = 4;

fn life_of_keys(options: &str, suite: Suite, sessions_are: Where) {
    let mut stage = Stage::new(options, suite, sessions_are);
    let mut absent = vec![stage.static_private(), stage.preshared(), stage.static_static()];
    absent.extend(stage.texts());
    stage.check("before it is configured", &[], &absent);

    stage.configure();
    let texts = stage.texts();
    stage.check("configured", &stage.configured(), &texts);
    wg::wg(&format!("showconf {}", stage.interface())).unwrap();
    stage.check("shown", &stage.configured(), &texts);

    stage.client.ask();
    stage.send();
    stage.check("in a session", &stage.in_session(0), &texts);

    for _ in 0..=SESSIONS_KEPT {
        stage.client.ask();
        // Or else the gateway may never come to use this one, and keep an older one instead.
        stage.send();
    }
    let (last, retired) = (stage.client.sessions.len() - 1, stage.client.needles(0));
    stage.check("after many sessions", &stage.in_session(last), &retired);

    stage.set_link("down");
    let mut absent: Vec<_> = (0..=last).flat_map(|session| stage.client.needles(session)).collect();
    stage.check("down", &stage.configured(), &absent);

    stage.set_link("up");
    stage.await_session();
    stage.check("in a session that the gateway asked for", &stage.in_session(last + 1), &absent);

    stage.set("replace_peers=true\n");
    absent.extend([stage.preshared(), stage.static_static()]);
    absent.extend(stage.client.needles(last + 1));
    let [private, _] = stage.configured().try_into().ok().unwrap();
    stage.check("without peers", &[private], &absent);

    absent.push(stage.static_private());
    stage.keys = KeyPair::random().unwrap();
    stage.set(&format!("private_key={}\n", stage.keys.private.hex()));
    let [private, _] = stage.configured().try_into().ok().unwrap();
    stage.check("with another private key", &[private], &absent);

    stage.set(&format!("private_key={}\n", "0".repeat(64)));
    absent.push(stage.static_private());
    stage.check("without any", &[], &absent);
}

#[test]
fn rustcrypto() {
    life_of_keys("--aead rustcrypto", Suite::ChaCha20Poly1305, Where::AtWork);
}

/// With AVX-512 it works on more blocks at once than there are registers for, and has round keys on its stack.
#[test]
fn rustcrypto_aes() {
    let wide = cpu_has("avx512f") && cpu_has("vaes");
    life_of_keys("--aead rustcrypto", Suite::Aes256Gcm, if wide { Where::AtWork } else { Where::Safe });
}

fn cpu_has(feature: &str) -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == feature))
}

/// AWS-LC has a heap of its own.
#[test]
fn aws_lc() {
    life_of_keys("--aead aws-lc", Suite::ChaCha20Poly1305, Where::Anywhere);
}

#[test]
fn aws_lc_aes() {
    life_of_keys("--aead aws-lc", Suite::Aes256Gcm, Where::Anywhere);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn train() {
    // The one that this CPU would choose: each of them works with keys in the same way.
    kernel(&["train", "train-avx2"], Suite::ChaCha20Poly1305);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn vaes() {
    kernel(&["vaes"], Suite::Aes256Gcm);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn vaes512() {
    kernel(&["vaes512"], Suite::Aes256Gcm);
}

/// The first of these kernels that this CPU runs.
#[cfg(target_arch = "x86_64")]
fn kernel(names: &[&str], suite: Suite) {
    let runs = |name: &&&str| {
        let provider: ringfort_aead::Provider = name.parse().unwrap();
        ringfort_aead::Suite::ALL.iter().any(|&suite| provider.is_available(suite))
    };
    match names.iter().find(runs) {
        Some(name) => life_of_keys(&format!("--aead {name}"), suite, Where::AtWork),
        None => eprintln!("left out: this CPU does not run {}", names.join(" or ")),
    }
}

/// A process goes on in another one, first with a session, then with an initiation that waits for its answer.
#[test]
fn handed_over() {
    let options = "--aead rustcrypto";
    let mut stage = Stage::new(options, Suite::ChaCha20Poly1305, Where::AtWork);
    stage.configure();
    for _ in 0..=SESSIONS_KEPT {
        stage.client.ask();
        stage.send();
    }
    let (last, mut absent) = (stage.client.sessions.len() - 1, stage.texts());
    absent.extend(stage.client.needles(0));
    stage.check("in a session", &stage.in_session(last), &absent);

    stage.hand_over(options);
    stage.check("handed over", &stage.in_session(last), &absent);
    stage.send();
    stage.check("used by the new process", &stage.in_session(last), &absent);

    stage.set_link("down");
    absent.extend((1..=last).flat_map(|session| stage.client.needles(session)));
    stage.check("down", &stage.configured(), &absent);
    stage.set_link("up");
    let initiation = stage.await_initiation();
    stage.hand_over(options);
    absent.extend(stage.check_waiting("handed over while an initiation waits", initiation, &absent));
    stage.await_session();
    stage.check("in a session that the new process asked for", &stage.in_session(last + 1), &absent);
}

/// A worker that has the key of a session which is over, and nothing to do, must hear of it all the same.
#[test]
fn workers_that_sleep_forget() {
    let mut stage = Stage::new("--aead rustcrypto", Suite::ChaCha20Poly1305, Where::AtWork);
    stage.configure();
    for _ in 0..SESSIONS_KEPT {
        stage.client.ask();
        stage.send();
    }
    for retired in 0..3 {
        // The worker is told that the peer has the new session, and sleeps again before control retires another one.
        stage.client.ask();
        let absent: Vec<_> = (0..=retired).flat_map(|session| stage.client.needles(session)).collect();
        stage.check(&format!("session {retired} is over"), &stage.in_session(retired + SESSIONS_KEPT), &absent);
    }
}

/// What the answer to an initiation needs lies in safe places alone, and what led there nowhere.
#[test]
fn a_handshake_that_waits() {
    let mut stage = Stage::new("--aead rustcrypto", Suite::ChaCha20Poly1305, Where::AtWork);
    stage.configure();
    let mut absent = stage.texts();
    let initiation = stage.await_initiation();
    absent.extend(stage.check_waiting("an initiation waits", initiation, &absent));
    stage.set_link("down");
    stage.check("down", &stage.configured(), &absent);
    stage.set_link("up");
    let initiation = stage.await_initiation();
    absent.extend(stage.check_waiting("another one waits", initiation, &absent));
    stage.await_session();
    stage.check("in a session", &stage.in_session(0), &absent);
}

/// A file, which is read again and written.
#[test]
fn keys_of_a_file() {
    let path = janitor::directory().join("secrets.conf");
    let (keys, client, preshared) = (KeyPair::random().unwrap(), KeyPair::random().unwrap(), Key::random().unwrap());
    let (private, public, psk) = (keys.private.base64(), client.public.base64(), preshared.base64());
    let text = format!(
        "[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n\n[Peer]\nPublicKey = {public}\n\
         PresharedKey = {psk}\nAllowedIPs = 10.77.0.2/32\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut stage = Stage::new(&format!("--config {}", path.display()), Suite::default(), Where::Safe);
    (stage.keys, stage.client.keys, stage.tunnel.preshared, stage.copies) = (keys, client, preshared, 2);
    let texts = stage.texts();
    stage.check("started", &stage.configured(), &texts);

    let ringfort = std::env::var_os("RINGFORT_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ringfort").into());
    run(Command::new(&ringfort).args(["reload", stage.interface()])).unwrap();
    stage.check("read again", &stage.configured(), &texts);
    run(Command::new(&ringfort).args(["save", stage.interface(), "--file"]).arg(&path)).unwrap();
    stage.check("saved", &stage.configured(), &texts);
}

/// Whoever crashes leaves no file with keys, also where the limit on core dumps would allow it. The gateway that may be
/// dumped shows that this machine would leave one.
#[test]
fn nothing_is_dumped() {
    for options in ["", "--sandbox off"] {
        let (dumped, is_open) = abort(options);
        assert!(!dumped && !is_open, "{options}: {dumped}, {is_open}");
    }
    let (_, is_open) = abort("--core-dumps");
    assert!(is_open, "or nobody could have looked in above either");
    // The kernel writes the file with the rights of the thread, which the sandbox would keep from this directory.
    let (dumped, _) = abort("--core-dumps --sandbox off");
    if !dumped {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        eprintln!("left out: no process leaves a core file here (kernel.core_pattern is {})", pattern.trim());
    }
}

/// Ends a gateway with these options as a crash would, after its limit on core dumps was lifted. Returns whether there
/// was a core dump, and whether a process of root's could read its memory without the right to trace.
fn abort(options: &str) -> (bool, bool) {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let directory = std::env::temp_dir().join(format!("{interface}.cores"));
    std::fs::create_dir(&directory).unwrap();
    let program = us().with_options(options);
    let mut command = namespace.command(&program.path);
    command.args(program.arguments(&interface)).current_dir(&directory);
    let mut daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it serves", || uapi::get(&interface).is_ok());
    let pid = daemon.pid();
    let own = limit_on_core_dumps(i32::try_from(std::process::id()).unwrap());
    let expected = if options.contains("--core-dumps") { own } else { "0".to_owned() };
    assert_eq!(limit_on_core_dumps(pid), expected, "{options}");
    let open = Command::new("setpriv")
        .args(["--inh-caps=-all", "--bounding-set=-sys_ptrace", "sh", "-c", &format!("exec 3</proc/{pid}/mem")])
        .output()
        .unwrap();
    run(Command::new("prlimit").args(["--core=unlimited:unlimited", "--pid", &pid.to_string()])).unwrap();
    daemon.signal(Signal::SIGABRT);
    let status = daemon.wait(PATIENCE).unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{options}");
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert!(status.core_dumped() || files == 0, "{options}: it has left a file");
    std::fs::remove_dir_all(&directory).unwrap();
    (status.core_dumped(), open.status.success())
}

/// The soft one, as the kernel prints it.
fn limit_on_core_dumps(pid: i32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().nth(4).unwrap().to_owned()
}
