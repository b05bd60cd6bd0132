//! A gateway that was never root: another user, with the capabilities that a service manager hands it.

use std::os::unix::fs::symlink;

use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Daemon, Family, Tunnel, uapi};

use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us};

/// The drop-in that we deliver, and the unit that it is for.
const EXAMPLE: &str = include_str!("../../../packaging/examples/user.conf");
const UNIT: &str = include_str!("../../../packaging/systemd/ringfort@.service");
const README: &str = include_str!("../../../README.md");
/// `nobody`.
const USER: &str = "65534";

/// What systemd does before it starts the gateway: the directories of sockets are that user's, and so is the file, in a
/// directory that is not.
const START: &str = r#"
mount -t tmpfs none /run && install -d -m 700 -o $1 /run/wireguard /run/ringfort && install -d -m $2 /run/etc || exit
umask 077 && printf %s "$CONFIG" >/run/etc/$3.conf && chown $1 /run/etc/$3.conf || exit
export STATE_DIRECTORY=/run/ringfort
exec setpriv --reuid=$1 --regid=$1 --clear-groups --no-new-privs --bounding-set=$4 --inh-caps=$4 --ambient-caps=$4 \
    "$5" up --foreground /run/etc/$3.conf
"#;

/// The words of a setting of a unit or drop-in.
fn setting<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("there is no {name}")).split(' ').collect()
}

/// As `setpriv` writes a set of these capabilities and no other.
fn only(capabilities: &[&str]) -> String {
    let names = capabilities.iter().map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase());
    ["-all".to_owned()].into_iter().chain(names.map(|name| format!("+{name}"))).collect::<Vec<_>>().join(",")
}

/// The configuration of one side of the tunnel, with a command that says whose it is.
fn configuration(tunnel: &Tunnel) -> String {
    let [ours, other] = &tunnel.sides;
    let (private, public, preshared) = (ours.keys.private.base64(), other.keys.public.base64(), tunnel.preshared);
    let (addr, allowed, endpoint) = (ours.inner(Family::V4), other.inner(Family::V4), other.endpoint(Family::V4));
    format!(
        "[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\nAddress = {addr}/24\n\
         PostUp = id --user >/run/ringfort/hook\n\
         [Peer]\nPublicKey = {public}\nPresharedKey = {}\nAllowedIPs = {allowed}/32\nEndpoint = {endpoint}\n",
        preshared.base64()
    )
}

/// It makes the interface with its address, serves, runs commands of the file as that user, and carries traffic both
/// ways. Nothing is done without.
#[test]
fn the_capabilities_of_the_example_suffice() {
    let ambient = setting(EXAMPLE, "AmbientCapabilities");
    assert!(README.contains(&format!("`AmbientCapabilities={}`", ambient.join(" "))), "README names others");
    let bounds = [UNIT, EXAMPLE].map(|text| setting(text, "CapabilityBoundingSet")).concat();
    assert!(ambient.iter().all(|capability| bounds.contains(capability)), "{ambient:?} beyond {bounds:?}");
    let peering = Peering { preshared: true, ..Peering::default() };
    let mut tunnel = Tunnel::connected([&us(), &us()], &peering).unwrap();
    let daemon = tunnel.sides[0].daemon.take().unwrap();
    let interface = daemon.interface().to_owned();
    assert!(daemon.stop().unwrap().success());

    let mut command = tunnel.namespace(0).command("unshare");
    let mode = setting(EXAMPLE, "ConfigurationDirectoryMode")[0];
    command.args(["--mount", "sh", "-c", START, "sh", USER, mode, &interface, &only(&ambient)]).arg(us().path);
    command.env("CONFIG", configuration(&tunnel));
    let daemon = Daemon::spawn_command(command, &interface).unwrap();
    let root = format!("/proc/{}/root", daemon.pid());
    symlink(format!("{root}/run/wireguard/{interface}.sock"), uapi::socket_path(&interface)).unwrap();
    eventually(PATIENCE, &format!("it serves: {}", daemon.log()), || uapi::get(&interface).is_ok());
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_eq!(uid.split_whitespace().collect::<Vec<_>>(), [USER; 4]);
    let hook = || std::fs::read_to_string(format!("{root}/run/ringfort/hook")).unwrap_or_default();
    eventually(PATIENCE, "the command of the file was run as that user", || hook().trim() == USER);
    tunnel.sides[0].daemon = Some(daemon);

    tunnel.wait_until_open(0, PATIENCE).unwrap();
    tunnel.wait_until_open(1, PATIENCE).unwrap();
    let log = tunnel.sides[0].daemon().log();
    for word in ["WARN", "ERROR", "gap", "not locked", "does without"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    let daemon = tunnel.sides[0].daemon.take().unwrap();
    assert!(daemon.stop().unwrap().success());
    assert!(!tunnel.namespace(0).has_interface(&interface), "the interface has gone with the gateway");
    std::fs::remove_file(uapi::socket_path(&interface)).unwrap();
}
