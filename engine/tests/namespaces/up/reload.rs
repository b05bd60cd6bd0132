//! A file that was changed, or is wrong, or has names in it, while its gateway runs.

use super::*;

#[test]
fn a_reload_changes_what_differs_and_nothing_else() {
    let setting = Setting::new();
    let other = KeyPair::random().unwrap().public.base64();
    let (interface, far) = (setting.interface_section(""), setting.peer_section(""));
    setting.write(&format!("{interface}{far}[Peer]\nPublicKey = {other}\nAllowedIPs = 10.78.0.0/24\n"));
    setting.run("up");
    setting.is_answered();
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    let old = wg::peers(&setting.interface).unwrap();
    let pings = Background::start(setting.here(), THEIRS.parse().unwrap(), Duration::from_millis(1), PATIENCE).unwrap();
    let third = KeyPair::random().unwrap().public.base64();
    let far = setting.peer_section("PersistentKeepalive = 21");
    let interface = interface.replace("10.77.0.1/24", "10.77.0.1/24, 10.77.0.9/24");
    setting.write(&format!(
        "{interface}{far}[Peer]\nPublicKey = {third}\n#ringfort: Name = third\nAllowedIPs = 10.78.0.0/24\n"
    ));
    let said = setting.run("reload");
    assert!(said.contains("(third): added") && said.contains(": removed") && said.contains("keepalive 21 s"), "{said}");
    assert!(said.contains("network: address +10.77.0.9/24") && said.lines().count() == 4, "{said}");
    let tally = pings.finish_later();
    assert!(tally.sent > 10 && tally.lost.is_empty(), "{tally:?}");
    let new = wg::peers(&setting.interface).unwrap();
    let of = |peers: &[wg::PeerDump], key: &str| peers.iter().find(|peer| peer.public_key == key).cloned();
    let key = setting.far_keys.public.base64();
    let (old, far) = (of(&old, &key).unwrap(), of(&new, &key).unwrap());
    assert_eq!(far.latest_handshake, old.latest_handshake, "the session was replaced");
    assert!(far.sent_bytes > old.sent_bytes && far.received_bytes > old.received_bytes, "{old:?} {far:?}");
    assert!(of(&new, &other).is_none() && of(&new, &third).unwrap().allowed_ips == ["10.78.0.0/24"], "{new:?}");
    assert!(setting.here().ip("-4 address").unwrap().contains("10.77.0.9/24"));
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    setting.run("down");
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let setting = Setting::new();
    let text = setting.interface_section("") + &setting.peer_section("");
    setting.write(&text);
    setting.run("up");
    setting.is_answered();
    let shown = || wg::wg(&format!("showconf {}", setting.interface)).unwrap() + &setting.state();
    let before = shown();
    setting.write(&format!("{text}[Peer]\nPublicKey = x\nAllowedIPs = 10.0.0.0/40\nhello\n"));
    let (status, said) = setting.fails("reload");
    assert!(status == 2 && said.contains("all is as it was") && said.lines().count() == 4, "{status}: {said}");
    assert_eq!(shown(), before);
    // The port is somebody else's: the device refuses, so the address does not come either.
    let socket = setting.here().enter(|| std::net::UdpSocket::bind("0.0.0.0:51999")).unwrap();
    setting.write(&text.replace(&format!("ListenPort = {PORT}"), "ListenPort = 51999").replace("/24", "/25"));
    let (_, said) = setting.fails("reload");
    assert!(said.contains("port"), "{said}");
    assert_eq!(shown(), before);
    drop(socket);
    // The machine refuses, and the file is right: another status.
    let sysctl = format!("sysctl -qw net.ipv6.conf.{}.disable_ipv6=1", setting.interface);
    setting.here().run(&sysctl).unwrap();
    setting.write(&text.replace("10.77.0.1/24", "10.77.0.1/24, fd00:77::1/64"));
    let (status, said) = setting.fails("reload");
    assert!(status == 1 && said.contains("all is as it was") && said.contains("fd00:77::1"), "{status}: {said}");
    assert_eq!(shown(), before);
    setting.is_answered();
    setting.run("down");
}

/// Also what no file has said: peers and settings of `wg set`, a port that the kernel has chosen, and sessions.
#[test]
fn what_the_network_refuses_was_done_to_no_peer() {
    let setting = Setting::new();
    let [by_hand, other] = [(); 2].map(|()| KeyPair::random().unwrap().public.base64());
    let elsewhere = |port| format!("[Peer]\nPublicKey = {other}\nEndpoint = 10.200.0.2:{port}\n");
    let interface = setting.interface_section("").replace(&format!("ListenPort = {PORT}\n"), "");
    setting.write(&(interface.clone() + &setting.peer_section("") + &elsewhere(7)));
    setting.run("up");
    setting.is_answered();
    let set = |what: &str| wg::wg(&format!("set {} peer {what}", setting.interface)).unwrap();
    set(&format!("{by_hand} allowed-ips 10.78.0.0/24 persistent-keepalive 7"));
    set(&format!("{other} endpoint 10.200.0.2:9 persistent-keepalive 9 allowed-ips 10.79.0.0/24"));
    let shown = || wg::wg(&format!("showconf {}", setting.interface)).unwrap() + &setting.state();
    let handshake = || {
        let peers = wg::peers(&setting.interface).unwrap();
        let far = peers.into_iter().find(|peer| peer.public_key == setting.far_keys.public.base64());
        far.map(|far| far.latest_handshake)
    };
    let before = (shown(), handshake());
    setting.here().run(&format!("sysctl -qw net.ipv6.conf.{}.disable_ipv6=1", setting.interface)).unwrap();
    // The far gateway is not among its peers.
    let interface = interface.replace("10.77.0.1/24", "10.77.0.1/24, fd00:77::1/64");
    setting.write(&format!("{interface}ListenPort = 51998\nFwMark = 77\n{}", elsewhere(8)));
    let (status, said) = setting.fails("reload");
    assert!(status == 1 && said.contains("all is as it was") && said.contains("fd00:77::1"), "{status}: {said}");
    setting.is_answered();
    assert_eq!((shown(), handshake()), before);
    setting.run("down");
}

#[test]
fn sighup_reads_the_file_again_and_other_signals_kill_nobody() {
    let setting = Setting::new();
    setting.write(&(setting.interface_section("") + &setting.peer_section("")));
    let mut daemon = setting.supervised();
    setting.write(&(setting.interface_section("") + &setting.peer_section("PersistentKeepalive = 33")));
    daemon.signal(Signal::SIGUSR2);
    daemon.signal(Signal::SIGUSR1);
    daemon.signal(Signal::SIGHUP);
    eventually(OPENING, "the keepalive of the file", || wg::only_peer(&setting.interface).unwrap().keepalive == "33");
    assert!(daemon.is_running());
    assert!(daemon.stop().unwrap().success());
}

/// Whoever changes the file while its gateway comes up, and says so, is heard.
#[test]
fn a_reload_waits_until_the_gateway_is_up() {
    let setting = Setting::new();
    let (begun, go) = (setting.directory.join("begun"), setting.directory.join("go"));
    let hook = format!("PostUp = touch {}; until test -e {}; do sleep 0.01; done", begun.display(), go.display());
    let write = |more: &str| setting.write(&(setting.interface_section(&hook) + &setting.peer_section(more)));
    write("");
    let mut command = setting.here().command(us().path);
    command.args(["up", "--foreground"]).arg(setting.path());
    let daemon = Daemon::spawn_command(command, &setting.interface).unwrap();
    eventually(PATIENCE, "the hook has begun", || begun.exists());
    write("PersistentKeepalive = 33");
    let waiting = || daemon.log().matches("is read again once everything is set up").count();
    daemon.signal(Signal::SIGHUP);
    eventually(PATIENCE, "the signal is heard", || waiting() == 1);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| setting.run("reload"));
        eventually(PATIENCE, "the command is heard", || waiting() == 2);
        assert_ne!(wg::only_peer(&setting.interface).unwrap().keepalive, "33");
        std::fs::write(&go, "").unwrap();
        assert!(reload.join().unwrap().contains("keepalive 33 s"));
    });
    assert_eq!(wg::only_peer(&setting.interface).unwrap().keepalive, "33");
    assert_eq!(daemon.log().matches("was read again").count(), 1, "once for both");
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let namespace = Namespace::new().unwrap();
    let interface = janitor::unique_name();
    let mut daemon = Daemon::start(&us(), &namespace, &interface).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually(OPENING, "it says so", || daemon.log().contains("there is no configuration to read again"));
    let output = command::output(namespace.command(us().path).args(["reload", &interface])).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("reads no configuration file"));
    assert!(daemon.is_running());
}

/// The resolver's first address counts, and a name without one keeps nobody from working.
#[test]
fn names_are_resolved_and_one_that_is_none_disturbs_nobody() {
    let setting = Setting::new();
    let keys: Vec<String> = (0..2).map(|_| KeyPair::random().unwrap().public.base64()).collect();
    let text = setting.interface_section("") + &setting.peer_section("");
    let named = format!(
        "[Peer]\nPublicKey = {}\nEndpoint = localhost:7\n[Peer]\nPublicKey = {}\nEndpoint = no-such-name.invalid:7\n",
        keys[0], keys[1]
    );
    setting.write(&(text.clone() + &named));
    setting.run("up");
    setting.is_answered();
    let endpoint = |key: &str| {
        let peers = wg::peers(&setting.interface).unwrap();
        peers.iter().find(|peer| peer.public_key == key).unwrap().endpoint.clone()
    };
    eventually(OPENING, "the name has an address", || {
        ["127.0.0.1:7", "[::1]:7"].contains(&endpoint(&keys[0]).as_str())
    });
    assert_eq!(endpoint(&keys[1]), "(none)");
    // It is seen why, and since when. A resolver without a way to its server may take long to say anything.
    let why = |key: &str| String::from_utf8(setting.output(&["why", &setting.interface, key]).stdout).unwrap();
    let said = why(&keys[1]);
    assert!(said.contains("The resolver"), "{said}");
    assert!(said.contains("name_unresolved (broken)") && said.contains("no-such-name.invalid:7"), "{said}");
    assert!(said.contains("endpoint name: no-such-name.invalid:7 has had no address for"), "{said}");
    assert!(!why(&keys[0]).contains("name_unresolved"));
    setting.write(&(text + &named.replace("no-such-name.invalid:7", "localhost:8")));
    let said = setting.run("reload");
    assert!(said.contains("endpoint localhost: is being resolved") && said.lines().count() == 1, "{said}");
    eventually(OPENING, "so has the other", || endpoint(&keys[1]).ends_with(":8"));
    setting.run("down");
}

/// What an operator has set by hand stays, and a reload says so. Setting it is no move of the peer.
#[test]
fn an_endpoint_that_was_set_by_hand_is_said() {
    let setting = Setting::new();
    setting.write(&(setting.interface_section("") + &setting.peer_section("#ringfort: Name = far")));
    let daemon = setting.supervised();
    setting.is_answered();
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    let key = setting.far_keys.public.base64();
    let set = |endpoint: &str| wg::wg(&format!("set {} peer {key} endpoint {endpoint}", setting.interface)).unwrap();
    set("10.200.0.2:9");
    let said = setting.run("reload");
    assert!(said.contains("(far): keeps the endpoint 10.200.0.2:9") && said.lines().count() == 1, "{said}");
    set(&format!("10.200.0.2:{PORT}"));
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    setting.is_answered();
    assert!(daemon.stop().unwrap().success());
}

/// They are named by their directories, in which files come later.
#[test]
fn an_include_that_found_nothing_yet_finds_peers_later() {
    let setting = Setting::new();
    let (inside, later) = (setting.directory.with_extension("d"), setting.directory.with_extension("later"));
    std::fs::create_dir(&inside).unwrap();
    let text = setting.interface_section("") + &setting.peer_section("");
    let text = format!("{text}\nInclude = {}/*.conf\n", inside.display());
    setting.write(&text);
    setting.run("up");
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    let key = KeyPair::random().unwrap().public.base64();
    std::fs::write(inside.join("1.conf"), format!("[Peer]\nPublicKey = {key}\n")).unwrap();
    let said = setting.run("reload");
    assert!(said.contains(": added"), "{said}");
    std::fs::create_dir(&later).unwrap();
    setting.write(&format!("{text}Include = {}/*.conf\n", later.display()));
    let (_, said) = setting.fails("reload");
    assert!(said.contains(&later.display().to_string()) && said.contains("restart the gateway"), "{said}");
    setting.run("down");
}

/// The kernel forgets paths below `/proc` that nobody uses, and the mark of a default route is at one.
#[test]
fn a_default_route_is_reloaded_however_long_after_the_start() {
    let setting = Setting::new();
    let text = |more| setting.interface_section("") + &setting.peer_section(more).replace(BEHIND, "0.0.0.0/0");
    setting.write(&text(""));
    setting.run("up");
    for _ in 0..3 {
        std::fs::write("/proc/sys/vm/drop_caches", "2").expect("this test needs root");
    }
    setting.write(&text("PersistentKeepalive = 22"));
    let said = setting.run("reload");
    assert!(said.contains("keepalive 22 s"), "{said}");
    setting.run("down");
}

/// What an option says counts more than the file, and what the file says no more is the default again.
#[test]
fn the_log_level_is_that_of_the_file_unless_an_option_says_it() {
    let setting = Setting::new();
    let text = setting.interface_section("") + &setting.peer_section("");
    let with = |level: &str| text.replacen("[Interface]", &format!("[Interface]\n#ringfort: LogLevel = {level}"), 1);
    let level = || {
        let output = setting.output(&["log-level", &setting.interface]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    setting.write(&with("debug"));
    setting.run("up");
    assert_eq!(level(), "debug");
    setting.write(&with("warn"));
    assert_eq!((setting.run("reload").as_str(), level().as_str()), ("log level warn\n", "warn"));
    setting.write(&text);
    assert_eq!((setting.run("reload").as_str(), level().as_str()), ("log level info\n", "info"));
    setting.run("down");
    // It keeps the standard error for its log then, and a pipe would never end.
    let mut up = setting.here().command(us().path);
    let up = up.args(["up", "--log-level", "debug"]).arg(setting.path()).stderr(std::process::Stdio::null()).status();
    assert!(up.unwrap().success());
    setting.write(&with("error"));
    assert!(setting.run("reload").contains("LogLevel error is not followed"));
    assert_eq!(level(), "debug");
    setting.run("down");
}
