//! Who watches is a client that never ends by itself.

use ringfort_core::crypto::PublicKey;

use super::*;

/// A server with so many places, and a handler that lets half of them watch a device with so many peers.
fn watched(place: &Place, clients: usize, peers: u16) -> (Server, Fake) {
    let mut device = Device::new(1);
    for n in 0..peers {
        let mut key = [7; 32];
        key[..2].copy_from_slice(&n.to_le_bytes());
        device.add_peer(PublicKey::new(key)).unwrap();
    }
    let mut watchers = Watchers::default();
    watchers.limit(clients);
    let server = place.server(Bounds { clients, ..Bounds::default() });
    (server, Fake { watch: Some((device, watchers)), ..Fake::default() })
}

/// Somebody who watches, and has been told of the peers.
fn watch(place: &Place, server: &mut Server, fake: &mut Fake) -> UnixStream {
    let mut client = place.connect();
    client.write_all(b"watch=1\n\n").unwrap();
    server.serve(at(1), fake);
    client
}

#[test]
fn who_watches_may_wait_for_as_long_as_nothing_happens() {
    let place = Place::new();
    let (mut server, mut fake) = watched(&place, 2, 1);
    let mut client = watch(&place, &mut server, &mut fake);
    assert!(received(&mut client).contains("\"complete\""));
    assert_eq!((server.next_deadline(), server.has_more()), (None, false));
    // Somebody else finds no place but that of one who has nothing to do.
    let mut idle = place.connect();
    server.serve(at(1_000), &mut fake);
    let mut third = place.connect();
    third.write_all(b"get=1\n\n").unwrap();
    server.serve(at(1_001), &mut fake);
    server.serve(at(1_001), &mut fake);
    assert!(received(&mut third).ends_with("errno=0\n\n"));
    assert!(is_gone(&mut idle) && !is_gone(&mut client));
    let (device, _) = fake.watch.as_mut().unwrap();
    let peer = device.peers().next().unwrap().id();
    device.set_endpoint(at(1_001), peer, "192.0.2.1:7".parse().unwrap());
    server.serve(at(1_002), &mut fake);
    assert!(received(&mut client).contains("192.0.2.1:7"));
}

/// One that does not read keeps its place until somebody needs it, and holds a page.
#[test]
fn who_does_not_read_makes_room() {
    let place = Place::new();
    let (mut server, mut fake) = watched(&place, 2, 5_000);
    let mut client = watch(&place, &mut server, &mut fake);
    for _ in 0..200 {
        server.serve(at(1), &mut fake);
    }
    assert!(!server.has_more(), "nothing turns in vain");
    let held: usize = server.clients.iter().flatten().map(Client::unread_len).sum();
    assert!((1..64 << 10).contains(&held), "{held} bytes are held");
    server.serve(at(1_000), &mut fake);
    assert_eq!(server.next_deadline(), None, "it may take as long as it likes");
    let mut others = [place.connect(), place.connect()];
    for other in &mut others {
        other.write_all(b"set=1\n").unwrap();
        server.serve(at(1_001), &mut fake);
        server.serve(at(1_001), &mut fake);
    }
    assert!(is_gone(&mut client));
    assert!(!is_gone(&mut others[0]) && !is_gone(&mut others[1]));
}

#[test]
fn the_place_of_one_who_hangs_up_is_free() {
    let place = Place::new();
    let (mut server, mut fake) = watched(&place, 2, 1);
    for _ in 0..5 {
        let mut client = watch(&place, &mut server, &mut fake);
        assert!(received(&mut client).contains("\"complete\""));
        drop(client);
        server.serve(at(2), &mut fake);
        assert_eq!(server.clients.iter().flatten().count(), 0);
    }
}
