//! Control sockets: who may have one, and what becomes of it.

use super::*;

#[test]
fn the_socket_is_private_and_removed_with_its_listener() {
    let place = Place::new();
    let listener = place.open().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.0), mode(&place.path()) & 0o077), (0o700, 0));
    drop(listener);
    assert!(!place.path().exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let place = Place::new();
    fs::create_dir_all(&place.0).unwrap();
    // Dropping std's listener leaves the path behind, as a killed daemon does.
    drop(std::os::unix::net::UnixListener::bind(place.path()).unwrap());
    let listener = place.open().unwrap();
    assert!(matches!(place.open(), Err(DaemonError::Served(name)) if name == "t0"));
    place.connect();
    drop(listener);
}

#[test]
fn removing_the_socket_is_noticed_and_another_s_socket_is_left_alone() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    assert!(server.serve(at(1), &mut fake));
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o660)).unwrap();
    assert!(server.serve(at(1), &mut fake), "a change of its mode is not its removal");
    fs::remove_file(place.path()).unwrap();
    let other = place.open().unwrap();
    assert!(!server.serve(at(1), &mut fake));
    drop(server);
    place.connect();
    drop(other);
}

#[test]
fn a_socket_that_is_handed_over_is_the_one_at_its_path() {
    let place = Place::new();
    fs::create_dir_all(&place.0).unwrap();
    let bind = || std::os::unix::net::UnixListener::bind(place.path()).unwrap();
    let first = bind();
    fs::remove_file(place.path()).unwrap();
    let second = bind();
    let refused = Listener::adopt(first.into()).unwrap_err();
    assert!(refused.to_string().contains("another socket"), "{refused}");
    Listener::adopt(second.into()).unwrap();
}

/// Another socket may take its place then.
#[test]
fn renaming_the_socket_is_noticed() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    assert!(server.serve(at(1), &mut fake));
    fs::rename(place.path(), place.0.join("moved.sock")).unwrap();
    assert!(!server.serve(at(1), &mut fake));
}

/// A client that could long have made room is no reason to try again at once: there is another reason why accept fails.
#[test]
fn a_listener_that_fails_is_left_alone_for_a_while() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let _idle = place.connect();
    server.serve(at(1), &mut fake);
    assert!(server.next_room(at(1)) < at(1) + ACCEPT_PAUSE, "it makes room soon");
    assert_eq!(server.next_room(at(9)), at(9) + ACCEPT_PAUSE);
}

/// In a thread of its own, as a user of its own.
fn as_another_user(body: impl FnOnce() + Send) {
    const USER: u32 = 1_907_651_203;
    let body = || {
        // SAFETY: takes no pointer. Unlike the C library's function it concerns the calling thread alone.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) };
        assert_eq!(result, 0, "this test needs root");
        body();
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}

/// A gateway of another user than root would end, as if it had been asked to, once somebody closes the directory.
#[test]
fn a_socket_that_may_not_be_seen_was_not_removed() {
    as_another_user(|| {
        let place = Place::new();
        let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
        assert!(server.serve(at(1), &mut fake));
        let close = |mode| fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)).unwrap();
        // Something happens to the socket, so it is looked for.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o660)).unwrap();
        close(0o000);
        assert_eq!(fs::symlink_metadata(place.path()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(server.serve(at(1), &mut fake));
        close(0o700);
        fs::remove_file(place.path()).unwrap();
        assert!(!server.serve(at(1), &mut fake));
    });
}

/// As a user of its own, so nobody else is short of them.
#[test]
fn without_an_inotify_instance_nothing_is_left_behind() {
    as_another_user(|| {
        let place = Place::new();
        let mut instances = Vec::new();
        let refused = loop {
            match nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::IN_CLOEXEC) {
                Ok(instance) => instances.push(instance),
                Err(_) => break place.open().unwrap_err(),
            }
        };
        assert!(refused.to_string().contains("max_user_instances"), "{refused}");
        assert!(!place.path().exists(), "a socket was left behind");
        drop(instances);
        place.open().unwrap();
    });
}
