//! What happens to a gateway just while it is handed over.

use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Daemon, janitor};

use super::*;
use crate::link_state::is_free;

/// A gateway without peers.
struct Gateway {
    namespace: Namespace,
    interface: String,
    daemon: Daemon,
}

impl Gateway {
    /// It stops at this place.
    fn start(options: &str, stop_at: Option<&str>) -> Self {
        let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
        let daemon = spawn(&namespace, &interface, options, stop_at);
        eventually(PATIENCE, "the gateway is there", || uapi::get(&interface).is_ok());
        Self { namespace, interface, daemon }
    }

    fn heir(&self) -> Daemon {
        spawn(&self.namespace, &self.interface, "--take-over", None)
    }

    fn wait_until_stopped(&self) {
        eventually(PATIENCE, "the old process has come so far", || is_stopped(&self.daemon));
    }

    fn set_link(&self, state: &str) {
        self.namespace.ip(&format!("link set {} {state}", self.interface)).unwrap();
    }

    fn wait_for_port(&self, is_wanted_free: bool) {
        let is_so = || is_free(&self.namespace, PORT) == is_wanted_free;
        eventually(PATIENCE, if is_wanted_free { "the port is free" } else { "the port is bound" }, is_so);
    }
}

fn spawn(namespace: &Namespace, interface: &str, options: &str, stop_at: Option<&str>) -> Daemon {
    let program = us().with_options("--workers 2").with_options(options);
    let mut command = namespace.command(&program.path);
    command.args(program.arguments(interface));
    if let Some(place) = stop_at {
        command.env("RINGFORT_STOP_AT", place);
    }
    Daemon::spawn_command(command, interface).unwrap()
}

/// The new process would never hear of it.
#[test]
fn a_signal_that_has_come_is_obeyed_by_the_old_process() {
    let mut gateway = Gateway::start("", Some("old-ready"));
    let mut new = gateway.heir();
    gateway.wait_until_stopped();
    gateway.daemon.signal(Signal::SIGTERM);
    gateway.daemon.signal(Signal::SIGCONT);
    let status = gateway.daemon.wait(PATIENCE).unwrap();
    let log = gateway.daemon.log();
    assert!(status.success() && log.contains("goes on: a signal has come"), "{status}: {log}");
    assert!(!new.wait(PATIENCE).unwrap().success(), "{}", new.log());
    assert!(new.log().contains("a signal has come"), "{}", new.log());
    let is_gone = || !gateway.namespace.has_interface(&gateway.interface);
    eventually(PATIENCE, "the interface has gone with the old process", is_gone);
}

/// The signal comes too late for the old process.
#[test]
fn down_ends_whoever_goes_on() {
    let mut gateway = Gateway::start("", None);
    let mut command = Command::new(us().path);
    command.args(["down", &gateway.interface]).env("RINGFORT_STOP_AT", "down-signals");
    let mut down = Daemon::spawn_command(command, &gateway.interface).unwrap();
    eventually(PATIENCE, "it knows who serves", || is_stopped(&down));
    let mut new = gateway.heir();
    assert!(gateway.daemon.wait(PATIENCE).unwrap().success());
    wait_until_serves(&new);
    down.signal(Signal::SIGCONT);
    // It stops there again before it signals the new one.
    eventually(PATIENCE, "it knows who serves now", || is_stopped(&down) || !down.is_running());
    down.signal(Signal::SIGCONT);
    let status = down.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", down.log());
    assert!(new.wait(PATIENCE).unwrap().success(), "{}", new.log());
    assert!(!gateway.namespace.has_interface(&gateway.interface));
}

/// It has the sockets that were open, though nobody has told it that the interface was up.
fn goes_down_meanwhile(is_killed: bool) {
    let mut gateway = Gateway::start("", Some("old-rest"));
    uapi::set(&gateway.interface, &format!("listen_port={PORT}\n")).unwrap();
    gateway.set_link("up");
    gateway.wait_for_port(false);
    let new = gateway.heir();
    gateway.wait_until_stopped();
    gateway.set_link("down");
    gateway.daemon.signal(if is_killed { Signal::SIGKILL } else { Signal::SIGCONT });
    assert_eq!(gateway.daemon.wait(PATIENCE).unwrap().success(), !is_killed);
    wait_until_serves(&new);
    gateway.wait_for_port(true);
    assert_eq!(uapi::stats(&gateway.interface).unwrap()["link_up"], 0);
    gateway.set_link("up");
    gateway.wait_for_port(false);
}

#[test]
fn an_interface_that_goes_down_has_no_sockets() {
    goes_down_meanwhile(false);
}

#[test]
fn an_interface_that_goes_down_while_the_old_process_ends_has_no_sockets() {
    goes_down_meanwhile(true);
}

/// Whoever takes over would go on to stand by, and whoever has promoted it would wait.
#[test]
fn a_promotion_is_not_forgotten() {
    let gateway = Gateway::start("--passive", None);
    let versions = versions(&gateway.interface);
    // Both requests are served in one turn, in this order, so the promotion is under way.
    gateway.daemon.signal(Signal::SIGSTOP);
    gateway.wait_until_stopped();
    let mut promoting = UnixStream::connect(uapi::socket_path(&gateway.interface)).unwrap();
    promoting.write_all(b"role=active\n\n").unwrap();
    let mut claimant = Claimant::new(&gateway.interface, &versions);
    gateway.daemon.signal(Signal::SIGCONT);
    let refusal = claimant.hear();
    assert!(refusal["Refused"].as_str().is_some_and(|why| why.contains("is being promoted")), "{refusal}");
    let role = || uapi::request(&gateway.interface, "role=1\n\n").unwrap().pairs;
    eventually(PATIENCE, "it is promoted", || role().iter().any(|(_, role)| role == "active"));
    let mut claimant = Claimant::new(&gateway.interface, &versions);
    assert!(claimant.hear()["Offer"].is_object());
}
