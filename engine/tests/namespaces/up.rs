//! `ringfort up`, `reload` and `down`: a gateway that is all that its file says, with real traffic.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::ping::{self, Background};
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Daemon, Implementation, Key, KeyPair, Namespace, Wire, command, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, peer, us, wg};

const THEIRS: &str = "10.77.0.2";
/// A network behind the other end, which no address of ours covers.
const BEHIND: &str = "10.99.0.0/24";

/// A namespace for the gateway under test, its file, and the other end of its tunnel.
struct Setting {
    wire: Wire,
    directory: PathBuf,
    interface: String,
    keys: KeyPair,
    far: Daemon,
    far_keys: KeyPair,
}

impl Setting {
    fn new() -> Self {
        let wire = Wire::new().unwrap();
        let directory = janitor::directory().join(janitor::unique_name());
        std::fs::create_dir(&directory).unwrap();
        let (keys, far_keys) = (KeyPair::random().unwrap(), KeyPair::random().unwrap());
        let name = janitor::unique_name();
        let there = &wire.ends[1];
        let far = Daemon::start(&peer(Implementation::Ringfort), there, &name).unwrap();
        let lines = format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={}\nallowed_ip=10.77.0.1/32\nallowed_ip=10.77.0.9/32\n",
            far_keys.private.hex(),
            keys.public.hex()
        );
        uapi::set(&name, &lines).unwrap();
        there.add_address(&name, THEIRS.parse().unwrap(), 24).unwrap();
        there.ip(&format!("link set {name} up")).unwrap();
        Self { wire, directory, interface: janitor::unique_name(), keys, far, far_keys }
    }

    fn here(&self) -> &Namespace {
        &self.wire.ends[0]
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.conf", self.interface))
    }

    fn interface_section(&self, more: &str) -> String {
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\nAddress = 10.77.0.1/24\n{more}\n",
            self.keys.private.base64()
        )
    }

    fn peer_section(&self, more: &str) -> String {
        let key = self.far_keys.public.base64();
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {THEIRS}/32, {BEHIND}\nEndpoint = 10.200.0.2:{PORT}\n{more}\n")
    }

    /// Nobody else may read it: it has a key.
    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
        std::fs::set_permissions(self.path(), Permissions::from_mode(0o600)).unwrap();
    }

    fn output(&self, words: &[&str]) -> Output {
        command::output(self.here().command(us().path).args(words)).unwrap()
    }

    /// A command that must succeed, about the file.
    fn run(&self, word: &str) -> String {
        command::run(self.here().command(us().path).arg(word).arg(self.path())).unwrap()
    }

    /// The same for one that must not: its status and what it says.
    fn fails(&self, word: &str) -> (i32, String) {
        let output = self.output(&[word, &self.path().display().to_string()]);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn is_answered(&self) {
        ping::until_answered(self.here(), THEIRS.parse().unwrap(), OPENING).unwrap();
    }

    /// All that a gateway could leave behind, as text.
    fn state(&self) -> String {
        let commands = [
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table main",
            "nft list ruleset",
        ];
        let mut text: String = commands.iter().map(|line| self.here().run(line).unwrap()).collect();
        text += &self.here().ip("-brief link").unwrap();
        let settled = text.lines().filter(|line| !line.starts_with("fe80:"));
        settled.map(|line| line.replace(" linkdown", "") + "\n").collect()
    }

    fn assert_nothing_is_left(&self, before: &str) {
        assert_eq!(self.state(), before);
        assert!(!uapi::socket_path(&self.interface).exists(), "a socket was left behind");
        assert_eq!(self.here().processes().unwrap(), [0_i32; 0], "a process was left behind");
    }

    /// In the foreground, as a supervisor has it, once it is ready.
    fn supervised(&self) -> Daemon {
        let mut command = self.here().command(us().path);
        command.args(["up", "--foreground"]).arg(self.path());
        let daemon = Daemon::spawn_command(command, &self.interface).unwrap();
        // The last that is set up.
        eventually(OPENING, &format!("it is up: {}", daemon.log()), || {
            self.here().ip("-4 route").unwrap().contains(&format!("{BEHIND} dev {}", self.interface))
        });
        daemon
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the far gateway said:\n{}", self.far.log());
        }
    }
}

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
    setting.run("down");
    setting.assert_nothing_is_left(&before);
}

/// What a start could not finish is taken back, and the command says why.
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
    setting.is_answered();
    setting.run("down");
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
    setting.write(&(text + &named.replace("no-such-name.invalid:7", "localhost:8")));
    let said = setting.run("reload");
    assert!(said.contains("endpoint localhost: is being resolved") && said.lines().count() == 1, "{said}");
    eventually(OPENING, "so has the other", || endpoint(&keys[1]).ends_with(":8"));
    setting.run("down");
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

/// They are the operator's, and may need what the daemon does not: `sudo`, a kernel module.
#[test]
fn hooks_keep_what_the_daemon_gives_up() {
    let setting = Setting::new();
    let file = setting.directory.join("status");
    let hook = format!("grep -e NoNewPrivs -e Seccomp: -e CapEff /proc/self/status >{}", file.display());
    setting.write(&(setting.interface_section(&format!("Table = off\nPostUp = {hook}")) + &setting.peer_section("")));
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().filter(|line| ["NoNewPrivs", "Seccomp:", "CapEff"].iter().any(|field| line.contains(field)));
    setting.run("up");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(lines(&std::fs::read_to_string(file).unwrap()), own.map(str::to_owned).collect());
    setting.run("down");
}

/// A large site: the work is what one `set=1` of that size takes, and a reload touches nobody.
#[test]
fn fifty_thousand_peers_come_up() {
    const COUNT: u32 = 50_000;
    let setting = Setting::new();
    let mut text = setting.interface_section("Table = off\n#ringfort: Workers = 1") + &setting.peer_section("");
    for number in 0..COUNT {
        let key = KeyPair::random().unwrap().public.base64();
        let [_, b, c, d] = number.to_be_bytes();
        text += &format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{}.{c}.{d}/32\n", 100 + b);
    }
    setting.write(&text);
    setting.run("up");
    let is_daemon = |process: &i32| {
        std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "ringfort")
    };
    let processes = setting.here().processes().unwrap();
    let process = processes.into_iter().find(is_daemon).expect("beside the one that runs commands");
    let stats = uapi::stats(&setting.interface).unwrap();
    assert_eq!((stats["peers"], stats["routes"]), (u64::from(COUNT) + 1, u64::from(COUNT) + 2));
    println!("{COUNT} peers: {} s of CPU until it was up", cpu_seconds(process));
    assert!(cpu_seconds(process) < 30.0, "it took {} s of CPU", cpu_seconds(process));
    setting.here().ip(&format!("route add {THEIRS} dev {}", setting.interface)).unwrap();
    setting.is_answered();
    let before = cpu_seconds(process);
    assert_eq!(setting.run("reload"), "nothing has changed\n");
    println!("{} s of CPU for a reload that changes nothing", cpu_seconds(process) - before);
    setting.run("down");
}

/// User and system time of a process (`proc_pid_stat(5)`, fields 14 and 15), in hundredths of a second.
fn cpu_seconds(process: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
