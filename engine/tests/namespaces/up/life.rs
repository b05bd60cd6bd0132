//! A gateway comes and goes, and leaves nothing behind: with hooks, rules, another name, after a failure or a crash.

use super::*;

#[test]
fn up_and_down_with_hooks_leave_nothing() {
    let setting = Setting::new();
    let notes = setting.directory.join("notes");
    let note =
        |what: &str| format!("{what} = echo {what} %i $(wg show %i public-key 2>&1 | wc -w) >>{}\n", notes.display());
    let gone = format!("PostDown = ip link show %i >/dev/null 2>&1 || echo gone >>{}\n", notes.display());
    let hooks = ["PreUp", "PostUp", "PreDown"].map(note).concat() + &gone;
    setting.write(&(setting.interface_section(&hooks) + &setting.peer_section("#ringfort: Name = far")));
    let before = setting.state();
    for _ in 0..2 {
        assert_eq!(setting.run("up"), "");
        assert!(
            setting.output(&["peers", &setting.interface]).stdout.windows(3).any(|text| text == b"far"),
            "its name"
        );
        // All of it is there when the command returns.
        assert!(setting.here().ip("-4 route").unwrap().contains(BEHIND));
        let link = setting.here().ip(&format!("link show dev {}", setting.interface)).unwrap();
        assert!(link.contains("mtu 1420 ") && link.contains("UP"), "{link}");
        setting.is_answered();
        setting.run("down");
        setting.assert_nothing_is_left(&before);
    }
    let interface = &setting.interface;
    let expected = format!("PreUp {interface} 1\nPostUp {interface} 1\nPreDown {interface} 1\ngone\n");
    assert_eq!(std::fs::read_to_string(notes).unwrap(), expected.repeat(2));
    let (status, text) = setting.fails("down");
    assert!(status == 2 && text.contains("no daemon serves"), "{text}");
}

/// Our own datagrams must not enter the tunnel that they carry.
#[test]
fn a_default_route_spares_our_own_datagrams() {
    let setting = Setting::new();
    let section = setting.peer_section("").replace(BEHIND, "0.0.0.0/0, ::/0");
    setting.write(&(setting.interface_section("") + &section));
    let before = setting.state();
    setting.run("up");
    setting.is_answered();
    // Whoever loads a firewall anew takes our table along.
    let rules = || setting.here().run("nft list ruleset").unwrap();
    let loaded = rules();
    setting.here().run("nft flush ruleset").unwrap();
    assert_eq!(setting.run("reload"), "network: nftables\n");
    assert_eq!((rules(), setting.run("reload").as_str()), (loaded, "nothing has changed\n"));
    setting.run("down");
    setting.assert_nothing_is_left(&before);
}

/// A hook that brings something up keeps nobody from taking it down: it is ended, with all that it has started.
#[test]
fn a_long_hook_does_not_hold_up_the_end() {
    let setting = Setting::new();
    let before = setting.state();
    let begun = setting.directory.join("begun");
    setting.write(&setting.interface_section(&format!("PostUp = touch {}; sleep 3600; true", begun.display())));
    let mut command = setting.here().command(us().path);
    command.args(["up", "--foreground"]).arg(setting.path());
    let mut daemon = Daemon::spawn_command(command, &setting.interface).unwrap();
    eventually(PATIENCE, "the hook has begun", || begun.exists());
    setting.run("down");
    assert!(daemon.wait(PATIENCE).unwrap().code().is_some(), "it has ended by itself");
    setting.assert_nothing_is_left(&before);
}

/// A hook that takes down may take its time, unless the end is asked for twice.
#[test]
fn a_hook_that_never_ends_does_not_hold_up_the_second_signal_for_ever() {
    let setting = Setting::new();
    let begun = setting.directory.join("begun");
    let hooks = format!("PreDown = touch {}; sleep 3600; true\nPostDown = true\nHookTimeout = off", begun.display());
    setting.write(&(setting.interface_section(&hooks) + &setting.peer_section("")));
    let before = setting.state();
    let mut daemon = setting.supervised();
    daemon.signal(Signal::SIGTERM);
    eventually(PATIENCE, "the hook has begun", || begun.exists());
    daemon.signal(Signal::SIGTERM);
    // It has 20 s for what goes on.
    assert!(daemon.wait(4 * PATIENCE).unwrap().code().is_some(), "it has ended by itself");
    let log = daemon.log();
    assert!(log.contains("could not be taken down") && log.contains("PostDown number 1"), "{log}");
    eventually(PATIENCE, "the hook has ended", || setting.here().processes().unwrap().is_empty());
    setting.assert_nothing_is_left(&before);
}

/// Nobody asks twice: each hook has its time, and the log names the one that needed more.
#[test]
fn hooks_that_never_end_do_not_hold_up_the_end() {
    let setting = Setting::new();
    let hooks = "PreDown = sleep 3600; true\nPreDown = true\nPostDown = true\nPostDown = sleep 3600; true";
    let limited = format!("{hooks}\nHookTimeout = 1");
    setting.write(&(setting.interface_section(&limited) + &setting.peer_section("")));
    let before = setting.state();
    let mut daemon = setting.supervised();
    setting.run("down");
    assert!(daemon.wait(PATIENCE).unwrap().success());
    let log = daemon.log();
    for named in ["PreDown number 1 was ended", "PostDown number 2 was ended", "1 s together (HookTimeout"] {
        assert!(log.contains(named), "{named}: {log}");
    }
    setting.assert_nothing_is_left(&before);
}

#[test]
fn who_does_not_answer_keeps_its_rules_until_it_has_ended() {
    let setting = Setting::new();
    let before = setting.state();
    setting.write(&(setting.interface_section("") + &setting.peer_section("AllowedIPs = 0.0.0.0/0\n")));
    let mut daemon = setting.supervised();
    let has_rules = || setting.here().run("ip -4 rule").unwrap().contains("suppress_prefixlength 0");
    eventually(PATIENCE, "its rules are there", has_rules);
    daemon.signal(Signal::SIGSTOP);
    let pending = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & (1 << (Signal::SIGTERM as u64 - 1)) != 0
    };
    std::thread::scope(|scope| {
        let down = scope.spawn(|| setting.run("down"));
        eventually(PATIENCE, "it is told to end", pending);
        assert!(has_rules());
        daemon.signal(Signal::SIGCONT);
        down.join().unwrap();
    });
    assert!(daemon.wait(PATIENCE).unwrap().success());
    setting.assert_nothing_is_left(&before);
}

#[test]
fn a_renamed_gateway_is_reloaded_and_leaves_nothing() {
    let setting = Setting::new();
    let before = setting.state();
    setting.write(&(setting.interface_section("") + &setting.peer_section("AllowedIPs = 0.0.0.0/0\n")));
    let daemon = setting.supervised();
    let (name, tables) = (janitor::unique_name(), || setting.here().run("nft list tables").unwrap());
    eventually(PATIENCE, "the firewall is there", || tables().contains(&setting.interface));
    setting.here().ip(&format!("link set {} name {name}", setting.interface)).unwrap();
    eventually(PATIENCE, "the firewall has the new name", || tables().contains(&name));
    assert!(!tables().contains(&setting.interface));
    let output = setting.output(&["reload", &name]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing has changed\n");
    setting.is_answered();
    assert!(daemon.stop().unwrap().success());
    setting.assert_nothing_is_left(&before);
}

/// What a start could not finish is taken back, and the command says why.
#[test]
fn a_start_that_fails_leaves_nothing_and_says_why() {
    let setting = Setting::new();
    let before = setting.state();
    for (more, status, expected) in [
        ("PostUp = echo out of luck >&2; false", 1, "PostUp number 1 failed"),
        ("PreUp = exit 7", 1, "exit status: 7"),
        ("MTU = 1\nTable = x\nMetrics = y", 2, ":5:7: this is not an MTU"),
    ] {
        setting.write(&(setting.interface_section(more) + &setting.peer_section("")));
        let (code, text) = setting.fails("up");
        assert!(code == status && text.contains(expected), "{code}: {text}");
        setting.assert_nothing_is_left(&before);
    }
    let (_, text) = setting.fails("up");
    let taken = setting.here().enter(|| std::net::UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
    setting.write(&(setting.interface_section("") + &setting.peer_section("")));
    let (code, said) = setting.fails("up");
    assert!(code == 2 && said.contains(&format!("port {PORT}")), "{code}: {said}");
    setting.assert_nothing_is_left(&before);
    drop(taken);
    assert!(text.contains(":6:9: ") && text.contains(":7:11: "), "all mistakes are said: {text}");
}

/// As a supervisor does it after a crash: nobody configures anything, and the peers hear from us again.
#[test]
fn what_was_killed_configures_itself_when_it_is_started_again() {
    let setting = Setting::new();
    let section = setting.peer_section("").replace(BEHIND, &format!("{BEHIND}, 0.0.0.0/0"));
    setting.write(&(setting.interface_section("FwMark = 51820") + &section));
    let before = setting.state();
    for _ in 0..2 {
        let daemon = setting.supervised();
        setting.is_answered();
        daemon.kill().unwrap();
    }
    let daemon = setting.supervised();
    setting.is_answered();
    assert!(daemon.stop().unwrap().success());
    setting.assert_nothing_is_left(&before);
}
