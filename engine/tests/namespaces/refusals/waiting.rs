//! A start that waits for an interface, and what ends its waiting.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;

use super::{Daemon, PATIENCE, Place, eventually, uapi};

/// The only queue of the interface, which goes with it unless it was made to stay.
fn occupy(place: &Place) -> OwnedFd {
    place.namespace.enter(|| {
        let queue = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: ifreq is a C structure of integers, arrays and addresses, for which all zeroes are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(place.interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq at the address, which is that of a live one.
        let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        queue.into()
    })
}

fn start(place: &Place) -> Daemon {
    let mut command = place.command("");
    command.args(["-f", &place.interface]);
    Daemon::spawn_command(command, &place.interface).unwrap()
}

/// Whether it sleeps in poll(2), which some machines have as ppoll(2) alone.
fn polls(daemon: &Daemon) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{}/syscall", daemon.pid())).unwrap_or_default();
    let number = call.split(' ').next().and_then(|number| number.parse().ok());
    #[cfg(target_arch = "x86_64")]
    if number == Some(libc::SYS_poll) {
        return true;
    }
    number == Some(libc::SYS_ppoll)
}

/// As one that was killed leaves it, with a queue that the kernel still holds.
#[test]
fn a_signal_ends_it() {
    let place = Place::new();
    let queue = occupy(&place);
    let socket = uapi::socket_path(&place.interface);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let mut daemon = start(&place);
    eventually(PATIENCE, "it waits", || polls(&daemon) || !daemon.is_running());
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(PATIENCE).unwrap();
    let log = daemon.log();
    assert!(status.code() == Some(1) && log.contains("ended by SIGTERM before it was ready"), "{status}: {log}");
    drop(queue);
    std::fs::remove_file(socket).unwrap();
    eventually(PATIENCE, "nothing is left", || !place.namespace.has_interface(&place.interface));
}

/// First its socket goes, and then its interface.
#[test]
fn a_daemon_that_ends_is_waited_for() {
    let place = Place::new();
    let queue = occupy(&place);
    let mut daemon = start(&place);
    eventually(PATIENCE, "it waits", || polls(&daemon) || !daemon.is_running());
    drop(queue);
    eventually(PATIENCE, "it serves", || uapi::get(&place.interface).is_ok() || !daemon.is_running());
    assert!(daemon.is_running(), "{}", daemon.log());
    assert!(daemon.stop().unwrap().success());
    place.assert_nothing_left();
}
