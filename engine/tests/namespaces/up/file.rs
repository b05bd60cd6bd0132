//! What the file is to others: the plain daemon, `save`, `check`.

use super::*;

/// Addresses and routes are the business of whoever started it. wg-quick sets keys anew after the start.
#[test]
fn the_plain_daemon_takes_keys_and_peers_and_leaves_the_network_alone() {
    let setting = Setting::new();
    setting.write(&(setting.interface_section("PostUp = false") + &setting.peer_section("PersistentKeepalive = 5")));
    let program = us().with_options(&format!("--config {}", setting.path().display()));
    let daemon = Daemon::start(&program, setting.here(), &setting.interface).unwrap();
    assert_eq!(wg::only_peer(&setting.interface).unwrap().keepalive, "5");
    assert!(!setting.here().ip("-4 address").unwrap().contains("10.77.0.1"));
    let address = format!("address add 10.77.0.1/24 dev {}", setting.interface);
    setting.here().ip(&address).unwrap();
    setting.here().ip(&format!("link set {} up", setting.interface)).unwrap();
    setting.is_answered();
    let quick = format!("[Interface]\nPrivateKey = {}\n{}", setting.keys.private.base64(), setting.peer_section(""));
    wg::wg_with_input(&format!("setconf {} /dev/stdin", setting.interface), &quick).unwrap();
    assert_eq!(wg::only_peer(&setting.interface).unwrap().keepalive, "off");
    setting.run("reload");
    assert_eq!(wg::only_peer(&setting.interface).unwrap().keepalive, "5", "the file is the truth when it is asked for");
    let process = daemon.pid();
    kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
    assert!(daemon.stop().unwrap().success());
}

/// Unlike wg-quick's, it keeps what it need not change.
#[test]
fn what_runs_is_saved_and_comments_stay() {
    let setting = Setting::new();
    let gone = format!("# gone\n[Peer]\nPublicKey = {}\n\n", KeyPair::random().unwrap().public.base64());
    let text = |own: &str, far: &str| {
        "# a gateway\n".to_owned() + &setting.interface_section(own) + "# far away\n" + &setting.peer_section(far)
    };
    let own = "SaveConfig = true\n#ringfort: Workers = 1\n";
    setting.write(&(text(own, "#ringfort: Name = far") + &gone));
    let refused = setting.output(&["up", "--user", "nobody", &setting.path().display().to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("SaveConfig and --user nobody"), "{said}");
    setting.write(&text("", ""));
    setting.run("up");
    // The sandbox was laid without it.
    setting.write(&(text(own, "#ringfort: Name = far") + &gone));
    let said = setting.run("reload");
    assert!(said.contains("needs a restart: Workers, SaveConfig"), "{said}");
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    setting.run("down");
    setting.run("up");
    setting.is_answered();
    assert!(setting.run("save").contains("says it already"));
    // What the operator writes is not overwritten before it was read.
    setting.write(&(text(own, "#ringfort: Name = far") + &gone));
    let (status, said) = setting.fails("save");
    assert!(status != 0 && said.contains("has changed since the gateway read it"), "{said}");
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    let interface = &setting.interface;
    let gone_key = gone.split("= ").nth(1).unwrap().trim();
    wg::wg(&format!("set {interface} peer {gone_key} remove")).unwrap();
    let far = setting.far_keys.public.base64();
    wg::wg(&format!("set {interface} peer {far} persistent-keepalive 44")).unwrap();
    let expected = text(own, "#ringfort: Name = far\nPersistentKeepalive = 44");
    assert!(setting.run("save").contains("was written"));
    assert_eq!(std::fs::read_to_string(setting.path()).unwrap().trim_end(), expected.trim_end());
    wg::wg(&format!("set {interface} peer {far} persistent-keepalive 45")).unwrap();
    setting.run("down");
    let saved = std::fs::read_to_string(setting.path()).unwrap();
    assert_eq!(saved.trim_end(), expected.replace("= 44", "= 45").trim_end());
}

/// Nobody needs to be root to know whether a file is right.
#[test]
fn check_says_everything_and_needs_no_root() {
    let setting = Setting::new();
    // The directory of the test is root's own.
    let path = std::env::temp_dir().join(format!("{}.conf", setting.interface));
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = std::process::Command::new(us().path);
        command.arg("check").arg(&path).uid(65_534).gid(65_534);
        let output = command::output(&mut command).unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let key = Key::random().unwrap().base64();
    let (status, text) = check(&format!("[Interface]\nPrivateKey = {key}\n{}", setting.peer_section("")));
    assert!(
        status == Some(0) && text.contains("chmod 600") && text.contains("right: 1 peers, 2 allowed IPs"),
        "{text}"
    );
    let (status, text) = check(&format!("[Interface]\nPrivatKey = {key}\nMTU = {key}\n[Peer]\nEndpoint = 1.2.3.4\n"));
    std::fs::remove_file(&path).unwrap();
    let path = path.display();
    let expected = [":2:1: no such setting in [Interface]: did you mean PrivateKey?", ":3:7: ", ":5:12: ", ":4:1: "];
    for (line, expected) in text.lines().zip(expected) {
        assert!(line.starts_with(&format!("{path}{expected}")), "{text}");
    }
    assert!(status == Some(2) && text.lines().count() == 4 && !text.contains(&key), "{text}");
}

/// Whoever asks, a wrong file is a wrong file.
#[test]
fn a_wrong_file_has_the_same_status_for_every_command() {
    let setting = Setting::new();
    let text = setting.interface_section("") + &setting.peer_section("");
    setting.write(&text);
    setting.run("up");
    setting.write(&(text + "MTU = 1400\n"));
    for word in ["check", "reload", "save"] {
        let (status, said) = setting.fails(word);
        assert!(status == 2 && said.contains("belongs into [Interface]"), "{word}: {status}: {said}");
    }
    setting.run("down");
    let (status, said) = setting.fails("up");
    assert!(status == 2 && said.contains("belongs into [Interface]"), "up: {status}: {said}");
}
