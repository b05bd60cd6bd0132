//! An interface that is moved to another network namespace, as container runtimes do it: the gateway stays where it was
//! started, and follows what happens to the interface, but does not keep the other namespace alive.

use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::{VETH, cable, inner_v4};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Daemon, Family, Namespace, Tunnel, janitor, ping, uapi};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us};

/// Container runtimes give these two to a gateway, and no more than the first as a rule.
const FEW_CAPABILITIES: &str = "setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all,+net_admin,+ipc_lock";

fn is_up(interface: &str) -> bool {
    uapi::stats(interface).unwrap()["link_up"] == 1
}

/// A gateway in a namespace of its own, started through `wrapper`.
fn start(wrapper: &str, namespace: &Namespace) -> Daemon {
    let interface = janitor::unique_name();
    let program = us();
    let Some((first, options)) = wrapper.split_once(' ') else {
        return Daemon::start(&program, namespace, &interface).unwrap();
    };
    let template = format!("{first} {options} {} -f {{interface}}", program.path.display());
    Daemon::start(&Program::template(&template).unwrap(), namespace, &interface).unwrap()
}

fn follows(wrapper: &str) -> String {
    let [home, first, second] = std::array::from_fn(|_| Namespace::new().unwrap());
    let daemon = start(wrapper, &home);
    let interface = daemon.interface();
    let mut from = &home;
    for (to, mtu) in [(&first, 1_301), (&second, 1_302), (&home, 1_303)] {
        from.ip(&format!("link set {interface} netns {}", to.name())).unwrap();
        eventually(PATIENCE, "a moved interface is down", || !is_up(interface));
        to.ip(&format!("link set {interface} mtu {mtu} up")).unwrap();
        eventually(PATIENCE, "the interface is up", || is_up(interface));
        eventually(PATIENCE, "the MTU is known", || daemon.log().contains(&format!("MTU is {mtu}")));
        to.ip(&format!("link set {interface} down")).unwrap();
        eventually(PATIENCE, "the interface is down", || !is_up(interface));
        to.ip(&format!("link set {interface} up")).unwrap();
        eventually(PATIENCE, "the interface is up again", || is_up(interface));
        from = to;
    }
    daemon.log()
}

#[test]
fn up_down_and_the_mtu_are_followed() {
    let log = follows("");
    assert!(!log.contains("asked for once a second"), "the kernel does not tell us: {log}");
}

/// Without `CAP_SYS_ADMIN` we could not enter the other namespace, without `CAP_NET_BROADCAST` the kernel tells us
/// nothing.
#[test]
fn they_are_followed_with_few_capabilities() {
    follows(FEW_CAPABILITIES);
}

/// A thread keeps the namespace alive that it is in. That of the self-test has one of its own, and ends.
#[test]
fn all_threads_are_at_home() {
    let [home, container] = std::array::from_fn(|_| Namespace::new().unwrap());
    let daemon = start("", &home);
    let interface = daemon.interface();
    home.ip(&format!("link set {interface} netns {}", container.name())).unwrap();
    container.ip(&format!("link set {interface} up")).unwrap();
    eventually(PATIENCE, "the interface is up", || is_up(interface));
    let here = home.enter(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    eventually(PATIENCE, "no thread is elsewhere", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        // One that ends meanwhile is in no namespace.
        let mut namespaces = threads.filter_map(|thread| std::fs::read_link(thread.ok()?.path().join("ns/net")).ok());
        namespaces.all(|namespace| namespace == here)
    });
}

fn goes_with_the_namespace(wrapper: &str) {
    let [home, container, outside] = std::array::from_fn(|_| Namespace::new().unwrap());
    // Another interface of the container, whose end shows that the container has gone.
    cable([(&container, VETH), (&outside, VETH)]).unwrap();
    let mut daemon = start(wrapper, &home);
    let interface = daemon.interface().to_owned();
    home.ip(&format!("link set {interface} netns {}", container.name())).unwrap();
    container.ip(&format!("link set {interface} up")).unwrap();
    eventually(PATIENCE, "the interface is up", || is_up(&interface));
    drop(container);
    let status = daemon.wait(PATIENCE).unwrap();
    eventually(PATIENCE, "the container's cable is gone", || !outside.has_interface(VETH));
    assert_eq!(status.code(), Some(1), "nobody asked the gateway to end\n{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains(&format!("interface {interface} was deleted")) && !log.contains("bug"), "{log}");
    assert!(!uapi::socket_path(&interface).exists(), "a socket was left behind");
}

#[test]
fn a_namespace_that_is_deleted_takes_the_interface_along() {
    goes_with_the_namespace("");
}

#[test]
fn a_namespace_that_is_deleted_takes_it_along_with_few_capabilities() {
    goes_with_the_namespace(FEW_CAPABILITIES);
}

/// The tunnel works from the other namespace, over sockets that stay at home, and the end takes the interface along.
#[test]
fn it_works_there_and_leaves_nothing_behind() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let container = Namespace::new().unwrap();
    let interface = tunnel.sides[0].interface.clone();
    tunnel.namespace(0).ip(&format!("link set {interface} netns {}", container.name())).unwrap();
    container.add_address(&interface, inner_v4(0), 24).unwrap();
    container.ip(&format!("link set {interface} up")).unwrap();
    ping::until_answered(&container, tunnel.sides[1].inner(Family::V4), OPENING).unwrap();
    let status = tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    assert!(status.success(), "{status}");
    assert!(!container.has_interface(&interface), "the interface was left behind");
}
