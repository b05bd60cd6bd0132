//! What is drawn of what a gateway answers, without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::control::error::DaemonError;
use crate::metrics::{Overview, PeerOverview, WorkerOverview};

/// A gateway after some seconds, in which so many packets of 1,000 bytes passed each way.
fn overview(time_s: f64, packets: u64, peers: u64) -> Overview {
    let figures = [
        ("tun_write_packets", packets),
        ("tun_write_bytes", 1_000 * packets),
        ("tun_read_packets", packets / 2),
        ("tun_read_bytes", 500 * packets),
        ("udp_receive_datagrams", packets),
        ("udp_receive_trains", packets / 4),
        ("udp_send_datagrams", packets),
        ("udp_send_trains", packets / 32),
        ("ring_operations", 7),
        ("staged", 3),
    ];
    let worker = WorkerOverview {
        cpu_s: Some(time_s / 4.0),
        figures: figures.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        drops: [("no_route".into(), packets / 1_000), ("bad_tag".into(), 5)].into(),
        ..WorkerOverview::default()
    };
    let peer = |number: u64| PeerOverview {
        public_key: format!("{number:043}="),
        name: (number == 1).then(|| "laptop of the caretaker".to_owned()),
        state: if number == 2 { "refused" } else { "up" }.into(),
        worker: Some(0),
        endpoint: Some(format!("192.0.2.{number}:51820")),
        last_handshake_s: (number != 2).then_some(time_s - 61.0),
        rx_bytes: number * packets,
        tx_bytes: packets,
        ..PeerOverview::default()
    };
    let mut overview = Overview {
        interface: "wg0".to_owned(),
        time_s,
        started_s: 0.0,
        up: true,
        has_private_key: true,
        peers,
        workers: vec![worker.clone(), worker],
        busiest_peers: (0..peers).map(peer).collect(),
        ..Overview::default()
    };
    overview.control.cpu_s = Some(0.01 * time_s);
    overview.handshakes.initiated = packets / 1_000;
    overview.handshakes.initiated_s = packets as f64 / 1_000.0 * 0.0021;
    overview.handshakes.given_up = 2;
    overview
}

fn app() -> App {
    let mut app = App::new("wg0", Duration::from_secs(1));
    app.answered(Ok(overview(1_000.0, 1_000_000, 4)));
    app.answered(Ok(overview(1_002.0, 1_064_000, 4)));
    app
}

fn press(app: &mut App, code: KeyCode) {
    app.press(KeyEvent::new(code, KeyModifiers::NONE));
}

/// The lines of a screen of this size.
fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn eighty_columns_say_it_all() {
    let lines = screen(&app(), 80, 24);
    let expected = [
        "ringfort top wg0  up  runs for 16m 42s, 4 peers (3 up)",
        "in 512Mbit/s 64.0k packets/s   out 256Mbit/s 32.0k packets/s   drops 64/s",
        "handshakes 32/s (1064 in all, 2 given up, 0 waiting), 2.1 ms on average",
        "",
        "THREAD  BUSY  IN pkt/s OUT pkt/s IN bit/s OUT bit/s TRAIN     RING  WAIT  DROP/s",
        "control 1%                                                          0     0",
        "0       25%   32.0k    16.0k     256M     128M      4.0/32.0  7     3     32",
        "1       25%   32.0k    16.0k     256M     128M      4.0/32.0  7     3     32",
        "",
        "DROPPED                  /s      IN ALL       WHEN",
        "no_route                 64      2128         now",
        "",
        "PEER              STATE       IN bit/s OUT bit/s HANDSHAKE  ENDPOINT",
        "0000000000000000… up          768k     256k      1m 1s      192.0.2.3:51820",
        "0000000000000000… refused     512k     256k      never      192.0.2.2:51820",
        "laptop of the ca… up          256k     256k      1m 1s      192.0.2.1:51820",
        "0000000000000000… up          0        256k      1m 1s      192.0.2.0:51820",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line, expected, "{}", lines.join("\n"));
    }
    assert_eq!(lines[23], "q end  s sort: traffic  p pause  h help  every 1 s");
}

#[test]
fn a_wide_screen_shows_more_of_each_peer() {
    let text = screen(&app(), 160, 30).join("\n");
    for part in ["laptop of the caretaker", "WORKER", "DROPS", &format!("{:043}=", 3)] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// A gateway shows the busiest of very many. How many are up is said of all.
#[test]
fn of_very_many_peers_a_part_is_shown_and_that_is_said() {
    let mut many = overview(10.0, 1_000, 1_000);
    many.peers = 5_000;
    many.peers_in_state = [("idle".into(), 800), ("up".into(), 4_200)].into();
    let mut top = App::new("wg0", Duration::from_secs(1));
    top.answered(Ok(many.clone()));
    let lines = screen(&top, 80, 24);
    assert!(lines[0].ends_with("5000 peers (4200 up)"), "{}", lines.join("\n"));
    let peers = lines.iter().position(|line| line.starts_with("PEER")).expect("peers are there");
    assert!(lines[peers - 1].starts_with("1000 of 5000 peers shown"), "{}", lines.join("\n"));
    many.peers_in_state.clear();
    top.answered(Ok(many));
    assert!(screen(&top, 80, 24)[0].ends_with("5000 peers (999 up)"), "as an older gateway tells it");
    assert!(!screen(&app(), 80, 24).join("\n").contains("shown"), "all four are");
}

/// Whatever the size, something is drawn and nothing panics.
#[test]
fn every_size_is_drawn() {
    let mut app = app();
    for help in [false, true] {
        for width in [1, 10, 40, 79, 80, 81, 200] {
            for height in [1, 2, 5, 10, 24, 100] {
                assert_eq!(screen(&app, width, height).len(), usize::from(height));
            }
        }
        assert_eq!(app.shows_help(), help);
        press(&mut app, KeyCode::Char('h'));
    }
}

/// With many workers the peers keep half of the screen.
#[test]
fn many_workers_leave_room_for_peers() {
    let mut app = App::new("wg0", Duration::from_secs(1));
    let mut many = overview(10.0, 1_000, 20);
    many.workers = vec![many.workers[0].clone(); 64];
    app.answered(Ok(many));
    let lines = screen(&app, 80, 24);
    let peers = lines.iter().position(|line| line.starts_with("PEER")).expect("peers are there");
    assert!(peers <= 16, "{}", lines.join("\n"));
}

#[test]
fn keys_do_what_the_help_says() {
    let mut app = app();
    assert_eq!(app.sort(), Sort::Traffic);
    let first = |app: &App| app.picture().rows[0].name.clone();
    press(&mut app, KeyCode::Char('s'));
    assert_eq!((app.sort(), first(&app)), (Sort::In, format!("{:043}=", 3)));
    for (sort, number) in [(Sort::Out, 0), (Sort::Total, 3), (Sort::Handshake, 2)] {
        press(&mut app, KeyCode::Char('s'));
        assert_eq!((app.sort(), first(&app)), (sort, format!("{number:043}=")));
    }
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::PageDown);
    assert_eq!(app.scroll(), 3, "the last peer stays on the screen");
    press(&mut app, KeyCode::Home);
    assert_eq!(app.scroll(), 0);
    press(&mut app, KeyCode::Char('p'));
    assert!(app.is_paused() && screen(&app, 80, 24)[0].ends_with("paused"));
    press(&mut app, KeyCode::Char('+'));
    assert_eq!(app.interval(), Duration::from_secs(2));
    press(&mut app, KeyCode::Char('?'));
    assert!(screen(&app, 80, 24).join("\n").contains("next order of the peers"));
    press(&mut app, KeyCode::Esc);
    assert!(!app.shows_help() && !app.is_done());
    press(&mut app, KeyCode::Char('q'));
    assert!(app.is_done());
}

#[test]
fn a_gateway_that_is_gone_is_said_and_the_last_picture_stays() {
    let mut app = app();
    let source = io::Error::from(io::ErrorKind::ConnectionRefused);
    app.answered(Err(DaemonError::NotServed { name: "wg0".to_owned(), source }));
    let lines = screen(&app, 80, 24);
    assert!(lines[23].starts_with("no daemon serves interface wg0") && lines[1].starts_with("in 512M"), "{lines:?}");
    app.answered(Ok(overview(1_003.0, 1_064_000, 4)));
    assert!(screen(&app, 80, 24)[23].starts_with("q end"));
}

/// Counters of another run are not compared with: they would have run backwards.
#[test]
fn a_restart_begins_anew() {
    let mut app = app();
    let mut restarted = overview(1_010.0, 10, 4);
    restarted.started_s = 1_009.0;
    app.answered(Ok(restarted));
    let picture = app.picture();
    assert!(picture.all.packets == [0.0; 2] && picture.rows.iter().all(|row| row.bits.is_none()));
    assert!(screen(&app, 80, 24)[1].contains("in 0bit/s"));
}

#[test]
fn drops_are_shown_for_a_minute() {
    let mut app = app();
    assert_eq!(app.drops().len(), 1, "bad_tag has not grown");
    app.answered(Ok(overview(1_030.0, 1_064_000, 4)));
    let drops = app.drops();
    assert!(drops[0].0 == "no_route" && (drops[0].1.ago_s - 28.0).abs() < 0.1);
    assert!(screen(&app, 80, 24).join("\n").contains("28s ago"));
    app.answered(Ok(overview(1_063.0, 1_064_000, 4)));
    assert!(app.drops().is_empty());
}
