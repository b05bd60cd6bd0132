//! What the threads of a real daemon have given up, as `/proc` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::Signal;
use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::{KeyPair, Namespace, command, janitor, uapi};

use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us};

/// `CAP_NET_BIND_SERVICE`, `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_IPC_LOCK`.
const OF_CONTROL: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14;

/// Threads by their names: the mode of the filter with `no_new_privs`, and the effective capabilities.
type Threads = BTreeMap<String, (&'static str, u64)>;

fn threads(daemon: &Daemon) -> Threads {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let all = tasks.flatten().filter_map(|task| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).ok();
        let (name, status) = (read("comm")?, read("status")?);
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let capabilities = u64::from_str_radix(field("CapEff:")?, 16).unwrap();
        let layers = match (field("Seccomp:")?, field("NoNewPrivs:")?) {
            ("2", "1") => "filtered",
            ("0", "0") => "open",
            _ => "between",
        };
        Some((name.trim().to_owned(), (layers, capabilities)))
    });
    all.collect()
}

fn started(options: &str) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let program = us().with_options(&format!("--workers 2 --metrics 127.0.0.1:9586 {options}"));
    let daemon = Daemon::start(&program, &namespace, &janitor::unique_name()).unwrap();
    (namespace, daemon)
}

#[test]
fn each_thread_has_given_up_what_it_does_not_need() {
    let (_namespace, daemon) = started("");
    let expected: Vec<(&str, u64)> = vec![
        ("capture", 0),
        ("endpoints", 0),
        ("ringfort", OF_CONTROL),
        ("ringfort-log", 0),
        ("ringfort-metri", 0),
        ("ringfort-w0", 0),
        ("ringfort-w1", 0),
    ];
    // A thread that has just begun is about to.
    let is_so = || {
        let threads = threads(&daemon);
        let are_all_there = expected.iter().all(|(name, _)| threads.keys().any(|there| there.starts_with(name)));
        are_all_there
            && threads.iter().all(|(name, (layers, capabilities))| {
                let is_it = |(wanted, set): &(&str, u64)| name.starts_with(wanted) && capabilities == set;
                *layers == "filtered" && expected.iter().any(is_it)
            })
    };
    eventually(PATIENCE, "all threads are in the sandbox", is_so);
    assert!(!daemon.log().contains("gap"), "{}", daemon.log());
}

#[test]
fn off_is_off_and_report_only_watches() {
    for (options, layers) in [("--sandbox off", "open"), ("--sandbox report", "filtered")] {
        let (_namespace, daemon) = started(options);
        let is_so = |threads: &Threads| {
            threads.len() >= 6 && threads.values().all(|(is, capabilities)| *is == layers && *capabilities > OF_CONTROL)
        };
        eventually(PATIENCE, &format!("{options}: {:?}", threads(&daemon)), || is_so(&threads(&daemon)));
        // The line comes a moment after the filter.
        let is_said = || daemon.log().contains("the sandbox only reports") == (layers == "filtered");
        eventually(PATIENCE, &format!("{options}: {}", daemon.log()), is_said);
    }
}

/// Of a process: who it is, its capabilities, its filter.
fn rights(pid: &str) -> Option<(String, Vec<String>)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    Some((field("Name:")?, ["Uid:", "CapPrm:", "NoNewPrivs:", "Seccomp:"].into_iter().filter_map(field).collect()))
}

/// The process that looks names up for this daemon.
fn names_of(daemon: &Daemon) -> Option<String> {
    let pid = daemon.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .split_whitespace()
        .find(|pid| rights(pid).is_some_and(|(name, _)| name == "ringfort-dns"))
        .map(str::to_owned)
}

/// A name server that has an address for each name, as long as the test lasts.
fn serve_names(namespace: &Namespace) {
    let socket = namespace.enter(|| UdpSocket::bind("127.0.0.1:53")).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut query) {
            let end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
            assert!(end <= len);
            let is_ipv4 = query[end - 4..end] == [0, 1, 0, 1];
            // RFC 1035: number, response, one question, the answers.
            let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0];
            let mut answer = [&head, &query[12..end]].concat();
            if is_ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 53]);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
}

/// A process without rights resolves names. Without it the gateway goes on, and says what it lacks.
#[test]
fn names_are_looked_up_by_a_process_of_their_own() {
    for (options, host, addr) in [("", "localhost", ":7"), ("--user nobody", "gate.example", "192.0.2.53:7")] {
        let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
        let path = janitor::directory().join(format!("{interface}.conf"));
        let (key, peer) = (KeyPair::random().unwrap().private.base64(), KeyPair::random().unwrap().public.base64());
        let write = |host: &str| {
            let peer = format!("[Peer]\nPublicKey = {peer}\nEndpoint = {host}:7\n");
            std::fs::write(&path, format!("[Interface]\nPrivateKey = {key}\n{peer}")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        };
        write(host);
        let servers = path.with_extension("servers");
        std::fs::write(&servers, "nameserver 127.0.0.1\n").unwrap();
        std::fs::set_permissions(&servers, PermissionsExt::from_mode(0o644)).unwrap();
        serve_names(&namespace);
        let mut command = namespace.command("unshare");
        let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&servers).arg(us().path);
        command.args(["-f", "--config"]).arg(&path).args(options.split_whitespace()).arg(&interface);
        let daemon = Daemon::spawn_command(command, &interface).unwrap();
        let endpoint = || uapi::get(&interface).ok()?.into_iter().find(|(key, _)| key == "endpoint");
        eventually(PATIENCE, "the name has an address", || endpoint().is_some_and(|(_, is)| is.ends_with(addr)));
        let names = names_of(&daemon).unwrap();
        let expected = ["65534\t65534\t65534\t65534", "0000000000000000", "1", "2"].map(str::to_owned).to_vec();
        assert_eq!(rights(&names), Some(("ringfort-dns".to_owned(), expected)));
        assert!(!daemon.log().contains("gap"), "{}", daemon.log());
        let own = std::fs::read_link(format!("/proc/{}/exe", daemon.pid())).unwrap();
        assert_eq!(std::fs::read_link(format!("/proc/{names}/exe")).unwrap(), own);
        if options.is_empty() {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(names.parse().unwrap()), Signal::SIGKILL).unwrap();
            let is_said = || daemon.log().contains("names of endpoints are not resolved any more");
            eventually(PATIENCE, "it says so", is_said);
            write("no-such-name.invalid");
            daemon.signal(Signal::SIGHUP);
            eventually(PATIENCE, "and of each name", || daemon.log().contains("cannot be resolved: the process"));
            eventually(PATIENCE, "nothing is left of it", || names_of(&daemon).is_none());
        }
        assert!(daemon.stop().unwrap().success());
        assert!(rights(&names).is_none_or(|(name, _)| name != "ringfort-dns"), "it is still there");
    }
}

/// As a user who may do nothing, beside directories of root's.
#[test]
fn another_user_serves_and_leaves_nothing() {
    let (namespace, daemon) = started("--user nobody");
    let interface = daemon.interface();
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_eq!(user.split_whitespace().collect::<Vec<_>>(), ["65534"; 4]);
    // The directory of the socket is root's.
    let kept = OF_CONTROL | 1 << 1;
    let is_inside = || threads(&daemon).get("ringfort").is_some_and(|is| *is == ("filtered", kept));
    eventually(PATIENCE, &format!("control is in the sandbox: {:?}", threads(&daemon)), is_inside);
    let key = KeyPair::random().unwrap().private.hex();
    uapi::set(interface, &format!("private_key={key}\nlisten_port=801\nfwmark=7\n")).unwrap();
    namespace.ip(&format!("link set {interface} up")).unwrap();
    eventually(PATIENCE, "a low port with a mark is opened", || daemon.log().contains("listening on UDP port 801"));
    let renamed = format!("{interface}n");
    namespace.ip(&format!("link set {interface} name {renamed}")).unwrap();
    eventually(PATIENCE, "the socket has the new name", || uapi::get(&renamed).is_ok());
    let refused = namespace.command(us().path).args(["-f", "--user", "no such user", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(daemon.stop().unwrap().success());
    assert!(!uapi::socket_path(&renamed).exists(), "a socket was left behind");
}

/// Gateways of root come later, and refuse a directory of somebody else's.
#[test]
fn the_first_gateway_leaves_the_directories_of_sockets_to_root() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let mut command = namespace.command("unshare");
    let script = "mount -t tmpfs none /run && exec \"$1\" -f --user nobody \"$2\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(us().path).arg(&interface);
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    let run = std::path::PathBuf::from(format!("/proc/{}/root/run", daemon.pid()));
    let sockets = [format!("wireguard/{interface}.sock"), format!("ringfort/{interface}.metrics.sock")];
    let sockets = sockets.map(|name| run.join(name));
    eventually(PATIENCE, "it serves", || sockets.iter().all(|path| path.exists()));
    for path in sockets {
        let (socket, directory) = (path.metadata().unwrap(), path.parent().unwrap().metadata().unwrap());
        let owners = (socket.uid(), directory.uid(), directory.mode() & 0o777);
        assert_eq!(owners, (65534, 0, 0o700), "{}", path.display());
    }
    assert!(daemon.stop().unwrap().success());
}

/// The change of the user forbids them. Of a process that may be dumped, files in `/proc` are its user's.
#[test]
fn core_dumps_of_another_user_are_as_they_are_wanted() {
    for (options, owner) in [("--user nobody", 0), ("--user nobody --core-dumps", 65534)] {
        let (_namespace, daemon) = started(options);
        let environment = std::fs::metadata(format!("/proc/{}/environ", daemon.pid())).unwrap();
        assert_eq!(environment.uid(), owner, "{options}");
    }
}

/// A shell that forgot one, for instance.
#[test]
fn descriptors_that_nobody_has_named_are_closed() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let file = janitor::directory().join(format!("{interface}.inherited"));
    let mut command = namespace.command("sh");
    let script = "exec 7<>\"$1\" 9<>\"$1\"; exec \"$2\" -f \"$3\"";
    command.args(["-c", script, "sh"]).arg(&file).arg(us().path).arg(&interface);
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    eventually(PATIENCE, "it serves", || uapi::get(&interface).is_ok());
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let mut targets = open.flatten().filter_map(|number| std::fs::read_link(number.path()).ok());
    assert!(targets.all(|target| target != file), "{} is still open", file.display());
}

/// A shell makes such paths: `--config <(wg-quick strip wg0)`. The file may name another one for its key.
#[test]
fn descriptors_that_options_name_are_read_and_written() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let directory = janitor::directory();
    let (path, log) = (directory.join(format!("{interface}.conf")), directory.join(format!("{interface}.log")));
    let key = KeyPair::random().unwrap();
    std::fs::write(&path, "[Interface]\nPrivateKeyFile = /dev/fd/8\n").unwrap();
    let mut command = namespace.command("bash");
    command.env("KEY", key.private.base64());
    let script = "exec 8< <(echo $KEY) 9>>\"$3\"; unset KEY; \
                  exec \"$1\" -f --config <(wg-quick strip \"$2\") --log /dev/fd/9 \"$4\"";
    command.args(["-c", script, "bash"]).arg(us().path).args([&path, &log]).arg(&interface);
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    let has_key =
        || uapi::get(&interface).is_ok_and(|pairs| pairs.iter().any(|(_, value)| *value == key.private.hex()));
    eventually(PATIENCE, "it has the key", has_key);
    eventually(PATIENCE, "the log is written", || std::fs::read_to_string(&log).unwrap().contains("serves"));
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let of_log = open.flatten().filter(|number| std::fs::read_link(number.path()).is_ok_and(|target| target == log));
    assert_eq!(of_log.count(), 1, "what was handed over is closed once it was used");
    daemon.signal(Signal::SIGHUP);
    let says = || std::fs::read_to_string(&log).unwrap().contains("can be read once");
    eventually(PATIENCE, "it says why it cannot be read again", says);
    assert!(daemon.stop().unwrap().success());
}

/// They are the operator's, and may need what the daemon does not: `sudo`, a kernel module.
#[test]
fn hooks_keep_what_the_daemon_gives_up() {
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let path = janitor::directory().join(format!("{interface}.conf"));
    let file = path.with_extension("status");
    let hook = format!("grep -e NoNewPrivs -e Seccomp: -e CapEff /proc/self/status >{}", file.display());
    let key = KeyPair::random().unwrap().private.base64();
    std::fs::write(&path, format!("[Interface]\nPrivateKey = {key}\nTable = off\nPostUp = {hook}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let run = |word: &str| command::run(namespace.command(us().path).arg(word).arg(&path)).unwrap();
    run("up");
    let of = |status: &str| -> BTreeSet<String> {
        let is_about_rights = |line: &&str| ["NoNewPrivs", "Seccomp:", "CapEff"].iter().any(|name| line.contains(name));
        status.lines().filter(is_about_rights).map(str::to_owned).collect()
    };
    let ours = of(&std::fs::read_to_string("/proc/self/status").unwrap());
    assert_eq!(of(&std::fs::read_to_string(file).unwrap()), ours);
    run("down");
}

/// Asks as another user, by the one way that a path does not close: its mode lets everybody in.
#[test]
fn other_users_are_refused_and_a_group_is_not() {
    let (_namespace, daemon) = started("");
    let path = uapi::socket_path(daemon.interface());
    let ask = |user: u32, group: u32| {
        let mut command = Command::new("python3");
        let script = "import socket, sys\n\
             s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'get=1\\n\\n')\n\
             s.shutdown(socket.SHUT_WR)\n\
             while text := s.recv(4096): sys.stdout.write(text.decode())";
        command.args(["-c", script]).arg(&path).uid(user).gid(group);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let directory = path.parent().unwrap();
    let before = std::fs::metadata(directory).unwrap().permissions();
    std::fs::set_permissions(directory, PermissionsExt::from_mode(before.mode() | 0o001)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let (stranger, root) = (ask(4711, 4711), ask(0, 0));
    std::os::unix::fs::chown(&path, None, Some(4712)).unwrap();
    let (member, other) = (ask(4711, 4712), ask(4711, 4711));
    std::fs::set_permissions(directory, before).unwrap();
    let refused = format!("errno={}\n\n", -libc::EACCES);
    assert_eq!((stranger.as_str(), other.as_str()), (refused.as_str(), refused.as_str()));
    for admitted in [root, member] {
        assert!(admitted.ends_with("errno=0\n\n"), "{admitted}");
    }
    let log = || daemon.log().contains("user 4711 is refused on the control socket");
    eventually(PATIENCE, "the log says who it was", log);
}
