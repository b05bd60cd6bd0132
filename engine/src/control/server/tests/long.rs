//! Answers and changes that take more than a turn.

use super::*;

/// Pages are made in bounded number, and only for whoever has read those before.
#[test]
fn a_long_answer_is_made_a_page_at_a_time() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake { pages: 200, ..Fake::default() });
    let mut client = place.connect();
    client.write_all(b"get=1\n\nget=1\n\n").unwrap();
    server.serve(at(1), &mut fake);
    assert_eq!((fake.pages, server.has_more()), (200 - PAGES_PER_TURN, true));
    for _ in 0..200 {
        server.serve(at(1), &mut fake);
    }
    let (made, page_len) = (200 - fake.pages, PAGE_LINES * "page=123\n".len());
    assert!((1..200).contains(&made) && !server.has_more(), "the client reads nothing: {made} pages");
    let held: usize = server.clients.iter().flatten().map(Client::unread_len).sum();
    assert!(held <= page_len, "{held} bytes are held");
    let mut text = String::new();
    while fake.gets < 2 || server.has_more() || !text.ends_with("errno=0\n\n") {
        text.push_str(&received(&mut client));
        assert!(server.serve(at(1), &mut fake));
    }
    let count = |page: usize| text.matches(&format!("page={page}\n")).count();
    assert!((0..200).all(|page| count(page) == PAGE_LINES), "each page once");
}

#[test]
fn two_long_answers_take_turns() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake { pages: 1_000, ..Fake::default() });
    let mut clients = [place.connect(), place.connect()];
    clients.iter_mut().for_each(|client| client.write_all(b"get=1\n\n").unwrap());
    let mut lens = [0, 0];
    for _ in 0..20 {
        server.serve(at(1), &mut fake);
        for (client, len) in clients.iter_mut().zip(&mut lens) {
            *len += received(client).len();
        }
    }
    assert!(lens[0].abs_diff(lens[1]) <= 2 * PAGES_PER_TURN * PAGE_LINES * 9 && lens[0] > 0, "{lens:?}");
}

/// Its client waits as long as it takes, with what it has asked for next. Others are served meanwhile.
#[test]
fn a_change_that_takes_long_keeps_nobody_else_waiting() {
    let place = Place::new();
    let (mut server, mut fake) =
        (place.server(Bounds::default()), Fake { changes: Some(Vec::new()), ..Fake::default() });
    let (mut first, mut second) = (place.connect(), place.connect());
    first.write_all(b"set=1\nfwmark=1\n\nget=1\n\n").unwrap();
    server.serve(at(1), &mut fake);
    second.write_all(b"get=1\n\n").unwrap();
    for _ in 0..3 {
        server.serve(at(500), &mut fake);
    }
    assert!(received(&mut second).ends_with("errno=0\n\n"));
    assert_eq!((received(&mut first).as_str(), fake.gets), ("", 1));
    assert!(!is_gone(&mut first) && !server.has_more(), "it is not its fault, and nothing turns in vain");
    let held: usize = server.clients.iter().flatten().map(Client::held_len).sum();
    assert_eq!(held, "set=1\nfwmark=1\n\n".len(), "what waits counts as held");

    fake.changes.as_mut().unwrap().pop().unwrap().send(Ok(())).unwrap();
    for _ in 0..3 {
        server.serve(at(500), &mut fake);
    }
    assert!(received(&mut first).starts_with("errno=0\n\n"));
    assert_eq!(fake.gets, 2);

    first.write_all(b"set=1\n\n").unwrap();
    server.serve(at(501), &mut fake);
    drop(first);
    server.serve(at(502), &mut fake);
    let held = |server: &Server| server.clients.iter().flatten().map(Client::held_len).sum::<usize>();
    assert_eq!(held(&server), "set=1\n\n".len(), "it is applied all the same, and until then it is held");
    let orphan = fake.changes.as_mut().unwrap().pop().unwrap();
    orphan.send(Ok(())).unwrap();
    server.serve(at(503), &mut fake);
    assert_eq!((held(&server), server.clients.iter().flatten().count()), (0, 1));
}

/// Somebody else has got its place in the same turn, before its end was noticed.
#[test]
fn the_end_of_one_client_is_not_that_of_the_next() {
    let place = Place::new();
    let bounds = Bounds { clients: 1, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake { pages: 20, ..Fake::default() });
    let former = place.connect();
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    // The listener is ready before the former client is, so it is served first.
    let mut next = place.connect();
    next.write_all(b"get=1\n\n").unwrap();
    drop(former);
    server.serve(at(5), &mut fake);
    assert_eq!((fake.gets, fake.pages), (1, 20 - PAGES_PER_TURN), "the next one has the place, and an answer begins");
    let mut text = String::new();
    while !text.ends_with("errno=0\n\n") {
        assert!(server.has_more(), "the next one was disconnected");
        server.serve(at(5), &mut fake);
        text.push_str(&received(&mut next));
    }
}
