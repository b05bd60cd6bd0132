//! Limits on descriptors and on locked memory: either everything works, or it is refused with the number that helps.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::process::Usage;
use ringfort_testbed::tunnel::MTU;

use super::{Daemon, Family, OPENING, PATIENCE, Peering, Place, Tunnel, assert_refuses, eventually, uapi, us, wg};
use crate::harness::traffic::exchange;

/// The loader of programs needs one to begin with.
const DESCRIPTORS_TO_EXECUTE: usize = 4;

/// Starts with this limit on open files and returns the number that the refusal names; `None` if it was served well.
fn try_descriptors(place: &Place, limit: usize, foreground: bool) -> Option<usize> {
    let mut command = place.command(&format!("prlimit --nofile={limit}:{limit}"));
    command.args(["--workers", "2"]).args(foreground.then_some("-f")).arg(&place.interface);
    let mut daemon = Daemon::spawn_command(command, &place.interface).unwrap();
    let mut status = None;
    eventually(PATIENCE, "it serves or refuses", || {
        status = (!daemon.is_running()).then(|| daemon.wait(PATIENCE).unwrap());
        status.is_some() || foreground && uapi::get(&place.interface).is_ok()
    });
    let serves = status.is_none_or(|status| !foreground && status.success());
    if serves {
        assert_serves(place);
        for process in place.namespace.processes().unwrap() {
            kill(Pid::from_raw(process), Signal::SIGTERM).unwrap();
        }
        eventually(PATIENCE, "it ends", || place.namespace.processes().unwrap().is_empty());
        place.assert_nothing_left();
        return None;
    }
    place.assert_nothing_left();
    let text = daemon.log();
    assert!(!status.unwrap().success(), "{limit}: it refused with success:\n{text}");
    let number = |words: &str| text.split_once(words)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    Some(number("ulimit -n ").unwrap_or_else(|| panic!("{limit}: no remedy in:\n{text}")))
}

/// What takes descriptors while it runs: clients, many of whom say nothing, and another port.
fn assert_serves(place: &Place) {
    let socket = uapi::socket_path(&place.interface);
    let idle: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for port in [51_001, 51_002] {
        wg::wg(&format!("set {} listen-port {port}", place.interface)).unwrap();
        let shown = wg::wg(&format!("show {} listen-port", place.interface)).unwrap();
        assert_eq!(shown.trim(), port.to_string());
    }
    drop(idle);
}

#[test]
fn descriptors_suffice_or_it_is_refused() {
    let place = Place::new();
    let mut needed = None;
    for limit in DESCRIPTORS_TO_EXECUTE..=80 {
        match try_descriptors(&place, limit, true) {
            Some(number) => {
                assert!(limit < number, "{limit}: {number} would help");
                assert_eq!(*needed.get_or_insert(number), number, "always the same number helps");
            }
            None => assert!(needed.is_some_and(|needed| limit >= needed), "{limit} is enough, but not {needed:?}"),
        }
    }
    let needed = needed.expect("four are not enough");
    assert!(needed < 80, "{needed} are needed");
    assert_eq!(try_descriptors(&place, needed, false), None);
    for limit in [DESCRIPTORS_TO_EXECUTE, DESCRIPTORS_TO_EXECUTE + 1, 16, 25, 26, 27, needed - 1] {
        assert!(try_descriptors(&place, limit, false).is_some(), "{limit}");
    }
}

/// The limit on open files of a process that runs, without the hard one, so it can be raised again.
fn set_descriptor_limit(pid: i32, limit: usize) {
    ringfort_testbed::command::run(
        Command::new("prlimit").args([&format!("--pid={pid}"), &format!("--nofile={limit}:")]),
    )
    .unwrap();
}

/// The first number that the process has no descriptor of: the limit that leaves none free.
fn first_free_descriptor(pid: i32) -> usize {
    (0..).find(|number| !std::path::Path::new(&format!("/proc/{pid}/fd/{number}")).exists()).unwrap()
}

/// Clients of a control socket that were taken in. The kernel has a gateway's end of each in the network namespace of
/// its client, which is ours, and without an inode until then.
fn clients_taken_in(path: &std::path::Path) -> usize {
    let path = path.to_str().unwrap();
    let sockets = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    let ends = sockets.lines().filter(|line| line.ends_with(path));
    ends.filter(|line| line.split_whitespace().nth(6) != Some("0")).count()
}

/// Whoever has nothing to say makes room, and without anybody who could, the gateway waits without spinning.
#[test]
fn clients_come_when_no_descriptor_is_left() {
    let place = Place::new();
    let daemon = Daemon::start(&us(), &place.namespace, &place.interface).unwrap();
    let pid = daemon.pid();
    let mut enough = String::new();
    for line in std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap().lines() {
        if let Some(numbers) = line.strip_prefix("Max open files") {
            enough = numbers.split_whitespace().next().unwrap().to_owned();
        }
    }
    let socket = uapi::socket_path(&place.interface);
    // Who asked whether it is ready must not leave a lower descriptor free than that of the idle one.
    eventually(PATIENCE, "nobody is connected", || clients_taken_in(&socket) == 0);
    let mut idle = UnixStream::connect(&socket).unwrap();
    idle.set_nonblocking(true).unwrap();
    eventually(PATIENCE, "the idle one is taken in", || clients_taken_in(&socket) == 1);
    // Not at once, since the descriptor of one who has just been served may be free a moment later.
    eventually(PATIENCE, "the idle one makes room", || {
        set_descriptor_limit(pid, first_free_descriptor(pid));
        uapi::get(&place.interface).unwrap();
        idle.read(&mut [0; 1]).is_ok()
    });
    // Now not even the descriptors that are free may be used.
    set_descriptor_limit(pid, 0);
    let mut waiting = UnixStream::connect(&socket).unwrap();
    waiting.write_all(b"get=1\n\n").unwrap();
    let before = Usage::of(pid).unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(waiting.read(&mut [0; 1]).is_err(), "there is no descriptor for it");
    let sleeps = Usage::of(pid).unwrap().sleeps_since(&before);
    assert!(sleeps < 200, "it woke up {sleeps} times");
    set_descriptor_limit(pid, enough.parse().unwrap());
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(waiting.read(&mut [0; 1]).unwrap(), 1);
    assert!(daemon.stop().unwrap().success());
}

/// Root is exempt from the limit by CAP_IPC_LOCK, a service with CAP_NET_ADMIN alone is not.
fn with_locked_memory(kib: usize) -> String {
    let bytes = kib << 10;
    format!(
        "prlimit --memlock={bytes}:{bytes} setpriv --inh-caps=-ipc_lock,-sys_resource --ambient-caps=-all \
         --bounding-set=-ipc_lock,-sys_resource"
    )
}

/// One test, since the limit is on all that runs as one user.
#[test]
fn locked_memory_suffices_or_is_done_without() {
    // Not even for a ring.
    Place::new().refuses(&with_locked_memory(64), &["RLIMIT_MEMLOCK", "ulimit -l"]);
    // For rings, and for the packet memory of none or of one of two workers.
    for (kib, unlocked) in [(1_024, "2 of 2 workers"), (8_192, "1 of 2 workers")] {
        let line = format!("{} {} -f --workers 2 {{interface}}", with_locked_memory(kib), us().path.display());
        let limited = Program::template(&line).unwrap();
        let mut tunnel = Tunnel::connected([&limited, &us()], &Peering::default()).unwrap();
        tunnel.wait_until_open(0, OPENING).unwrap();
        for inner in [Family::V4, Family::V6] {
            exchange(&tunnel, inner, MTU as usize, 500_000);
        }
        let log = tunnel.sides[0].daemon().log();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("is not locked")).collect();
        let [said] = said[..] else { panic!("one line was expected:\n{log}") };
        for words in [unlocked, "RLIMIT_MEMLOCK", "ulimit -l", &format!("{kib} KiB")] {
            assert!(said.contains(words), "{words:?} is missing in: {said}");
        }
        let daemon = tunnel.sides[0].daemon.take().unwrap();
        assert!(daemon.stop().unwrap().success());
    }
}

/// As a user of its own, whose threads are counted, with what it takes to be a gateway.
fn as_user(id: u32) -> String {
    format!(
        "setpriv --reuid={id} --regid={id} --clear-groups --inh-caps=+net_admin,+dac_override \
         --ambient-caps=+net_admin,+dac_override"
    )
}

#[test]
fn without_a_thread_the_reason_is_said() {
    Place::new().refuses(&format!("prlimit --nproc=1:1 {}", as_user(1_907_651_204)), &["ringfort: cannot start"]);
}

/// Ending must not take what there may be none of.
#[test]
fn it_ends_without_a_further_thread() {
    const USER: u32 = 1_907_651_205;
    let place = Place::new();
    let mut command = place.command(&as_user(USER));
    command.args(["-f", "--workers", "2", &place.interface]);
    let mut daemon = Daemon::spawn_command(command, &place.interface).unwrap();
    eventually(PATIENCE, "it serves", || uapi::get(&place.interface).is_ok() || !daemon.is_running());
    assert!(daemon.is_running(), "{}", daemon.log());
    // Its own user may lower the limit, and root without CAP_SYS_RESOURCE may not.
    let limit = format!("{} prlimit --pid={} --nproc=0:", as_user(USER), daemon.pid());
    let mut limit = limit.split(' ');
    ringfort_testbed::command::run(Command::new(limit.next().unwrap()).args(limit)).unwrap();
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", daemon.log());
    place.assert_nothing_left();
}

/// The device is there, but its mode keeps us out: no capability helps.
#[test]
fn the_tun_device_is_not_for_us() {
    let place = Place::new();
    let script = format!(
        "mount -t tmpfs none /dev/net && mknod -m 600 /dev/net/tun c 10 200 && chown 65534 /dev/net/tun && \
         exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-dac_override,-dac_read_search {} -f {}",
        us().path.display(),
        place.interface
    );
    let mut command: Command = place.namespace.command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    assert_refuses(command, &["/dev/net/tun", "chmod", "--device"]);
    place.assert_nothing_left();
}
