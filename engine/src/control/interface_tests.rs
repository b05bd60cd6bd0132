use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::gettid;
use ringfort_testbed::scratch::{in_namespace, ip};
use tun_uring::{Offloads, Tun};

use super::*;

fn watched_tun() -> (Interface, Vec<OwnedFd>) {
    let tun = Tun::create("rf0", 2, Offloads::NONE).unwrap();
    let queues = tun.into_queues();
    (Interface::watch(Arc::new(queues[0].try_clone().unwrap()), None).unwrap(), queues)
}

/// The next change other than none.
#[track_caller]
fn next_change(interface: &mut Interface) -> Change {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        match interface.change(ringfort_worker::clock::boot_time()).unwrap() {
            Change::None => thread::sleep(Duration::from_millis(1)),
            change => return change,
        }
    }
    panic!("nothing has changed");
}

fn is_up(change: &Change) -> bool {
    matches!(change, Change::State(LinkState { up: true, .. }))
}

#[test]
fn up_down_mtu_name_and_deletion_are_seen() {
    in_namespace(|| {
        let (mut interface, _queues) = watched_tun();
        let first = Change::State(LinkState { up: false, mtu: Some(1420) });
        assert_eq!(next_change(&mut interface), first);
        assert_eq!(interface.take_name(), None, "as it was");
        ip("link set rf0 mtu 1300 name other up");
        while !matches!(next_change(&mut interface), Change::State(LinkState { up: true, mtu: Some(1300) })) {}
        assert_eq!((interface.take_name().as_deref(), interface.take_name()), (Some("other"), None));
        ip("link set other down");
        while is_up(&next_change(&mut interface)) {}
        assert!(!interface.is_deleted());
        ip("link delete other");
        assert_eq!(next_change(&mut interface), Change::Deleted);
        assert!(interface.is_deleted());
    });
}

#[test]
fn it_gets_no_link_local_address() {
    in_namespace(|| {
        let (interface, _queues) = watched_tun();
        let mode = || std::fs::read_to_string("/proc/sys/net/ipv6/conf/rf0/addr_gen_mode").unwrap();
        assert_eq!(mode(), "0\n");
        interface.refuse_link_local_address();
        assert_eq!(mode(), "1\n");
    });
}

#[test]
fn it_is_followed_into_another_namespace() {
    in_namespace(|| {
        let (mut interface, _queues) = watched_tun();
        next_change(&mut interface);
        elsewhere_concurrently(|there, run| {
            ip(&format!("link set rf0 netns {there} name moved"));
            assert!(!is_up(&next_change(&mut interface)), "a moved interface is down");
            run("link set moved up");
            while !is_up(&next_change(&mut interface)) {}
            run("link delete moved");
            assert_eq!(next_change(&mut interface), Change::Deleted);
        });
    });
}

#[test]
fn it_is_followed_onwards_and_back() {
    in_namespace(|| {
        let home = gettid().as_raw();
        let (mut interface, _queues) = watched_tun();
        next_change(&mut interface);
        elsewhere_concurrently(|first, run_first| {
            ip(&format!("link set rf0 netns {first}"));
            next_change(&mut interface);
            elsewhere_concurrently(|second, run_second| {
                run_first(&format!("link set rf0 netns {second}"));
                next_change(&mut interface);
                run_second("link set rf0 mtu 1300 up");
                while !matches!(next_change(&mut interface), Change::State(LinkState { up: true, mtu: Some(1300) })) {}
                run_second(&format!("link set rf0 netns {home}"));
                while is_up(&next_change(&mut interface)) {}
            });
        });
        assert_eq!(interface.place, Place::Home);
        ip("link set rf0 up");
        while !is_up(&next_change(&mut interface)) {}
    });
}

#[test]
fn it_is_found_again_when_there_are_descriptors_again() {
    in_namespace(|| {
        let (mut interface, _queues) = watched_tun();
        next_change(&mut interface);
        elsewhere_concurrently(|there, run| {
            ip(&format!("link set rf0 netns {there}"));
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
            // Whoever is short of something for a moment must not be taken to be up.
            while interface.next_deadline().is_none() {
                assert_eq!(interface.change(ringfort_worker::clock::boot_time()).unwrap(), Change::None);
            }
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            let due = interface.next_deadline().unwrap();
            assert!(matches!(interface.change(due).unwrap(), Change::State(LinkState { up: false, .. })));
            assert_eq!(interface.next_deadline(), None, "the kernel tells");
            run("link set rf0 up");
            while !is_up(&next_change(&mut interface)) {}
        });
    });
}

#[test]
fn only_what_is_forbidden_is_out_of_sight() {
    in_namespace(|| {
        let (mut interface, _queues) = watched_tun();
        let now = Time::from_secs(1);
        let mut lost = |errno| interface.lost(&io::Error::from_raw_os_error(errno), now);
        for passing in [libc::EMFILE, libc::ENOBUFS] {
            assert_eq!(lost(passing), Change::None);
        }
        for forbidden in [libc::EACCES, libc::EPERM] {
            assert_eq!(lost(forbidden), if forbidden == libc::EACCES { Change::OutOfSight } else { Change::None });
        }
        assert_eq!(interface.next_deadline(), Some(Time::ZERO), "its state is still not known");
    });
}

/// Nothing of ours holds it: not the watching, and not the queues.
#[test]
fn the_namespace_that_it_was_moved_to_can_go() {
    in_namespace(|| {
        let (mut interface, _queues) = watched_tun();
        next_change(&mut interface);
        elsewhere_concurrently(|there, run| {
            ip(&format!("link set rf0 netns {there}"));
            next_change(&mut interface);
            run("link set rf0 up");
            while !is_up(&next_change(&mut interface)) {}
        });
        // Its last thread has ended. The kernel takes it apart when it gets round to it.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !interface.is_deleted() {
            assert!(Instant::now() < deadline, "the namespace is still there");
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// A second namespace, by the number of a thread in it, and a way to run `ip` there.
fn elsewhere_concurrently(body: impl FnOnce(i32, &dyn Fn(&str))) {
    let (tell, told) = mpsc::channel();
    let (ask, asked) = mpsc::channel::<String>();
    let (done, is_done) = mpsc::channel();
    let there = thread::spawn(move || {
        in_namespace(move || {
            tell.send(gettid().as_raw()).unwrap();
            for args in asked {
                ip(&args);
                done.send(()).unwrap();
            }
        });
    });
    body(told.recv().unwrap(), &|args| {
        ask.send(args.to_owned()).unwrap();
        is_done.recv().unwrap();
    });
    drop(ask);
    there.join().unwrap();
}

#[test]
fn the_interface_goes_with_its_watcher_even_if_a_queue_is_open() {
    in_namespace(|| {
        let (interface, queues) = watched_tun();
        let exists = || nix::net::if_::if_nametoindex("rf0").is_ok();
        assert!(exists());
        drop(interface);
        assert!(!exists() && !queues.is_empty());
    });
}
