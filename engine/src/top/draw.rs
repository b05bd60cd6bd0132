//! The screen, drawn for the size that it has. Eighty columns are enough; a wider one shows more of each peer.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table};

use super::app::App;
use super::picture::{PeerRow, ThreadRow};
use super::units::{duration, mean, percent, short, si};

/// Columns from which on peers show totals, worker and drops.
const WIDE: u16 = 120;
/// Reasons for drops on the screen.
const DROPS_MAX: usize = 5;
/// Threads on the screen, if there is room for fewer than there are.
const THREADS_MIN: usize = 3;
/// Bright enough on a dark ground, and dark enough on a bright one.
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const HEADER: Style = Style::new().add_modifier(Modifier::BOLD).add_modifier(Modifier::UNDERLINED);

const HELP: [&str; 11] = [
    "q, Esc     end",
    "s          next order of the peers",
    "p, space   pause: nothing is asked",
    "+, -       ask half as often, twice as often",
    "arrows     scroll the peers (also j, k, PgUp, PgDn)",
    "",
    "IN is what comes from peers, OUT what goes to them.",
    "TRAIN: datagrams that passed together, received/sent.",
    "RING: operations under way. WAIT: what waits for the thread.",
    "BUSY: share of a CPU, with --busy-poll also while looking.",
    "h          close this",
];

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let drops = app.drops().len().min(DROPS_MAX);
    let threads = app.picture().threads.len();
    let height = usize::from(frame.area().height);
    // Peers get at least half of what is left.
    let room = height.saturating_sub(7 + if drops > 0 { drops + 1 } else { 0 }) / 2;
    let threads = threads.min(room.max(THREADS_MIN));
    let (shown, all) = (app.picture().rows.len(), app.picture().peers);
    let is_part = (shown as u64) < all;
    let [head, _, workers, _, dropped, part, peers, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Length(1 + threads as u16),
        Constraint::Length(1),
        Constraint::Length(if drops > 0 { drops as u16 + 2 } else { 0 }),
        Constraint::Length(is_part.into()),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(app)), head);
    frame.render_widget(thread_table(&app.picture().threads[..threads]), workers);
    if drops > 0 {
        frame.render_widget(drop_table(app), dropped);
    }
    let text = format!("{shown} of {all} peers shown, whatever their order: those with most traffic lately");
    frame.render_widget(Paragraph::new(text).style(DIM), part);
    frame.render_widget(peer_table(app, peers), peers);
    frame.render_widget(footer(app), foot);
    if app.shows_help() {
        help(frame);
    }
}

fn header(app: &App) -> Vec<Line<'static>> {
    let picture = app.picture();
    let mut first = vec![
        Span::from("ringfort top ").add_modifier(Modifier::BOLD),
        Span::from(app.name().to_owned()).add_modifier(Modifier::BOLD),
    ];
    let state = match (picture.is_up, picture.has_key) {
        _ if picture.is_passive => ("passive", Color::Yellow),
        (false, _) => ("down", Color::Red),
        (true, false) => ("no private key", Color::Red),
        (true, true) => ("up", Color::Green),
    };
    first.push(Span::from(format!("  {}", state.0)).fg(state.1));
    let (age, peers, up) = (duration(picture.up_s), picture.peers, picture.peers_up);
    first.push(Span::from(format!("  runs for {age}, {peers} peers ({up} up)")));
    if app.is_paused() {
        first.push(Span::from("  paused").fg(Color::Yellow));
    }
    let ThreadRow { packets: [rx, tx], bits: [rx_bits, tx_bits], drops, .. } = &picture.all;
    let second = format!(
        "in {}bit/s {} packets/s   out {}bit/s {} packets/s   drops {}/s",
        si(*rx_bits),
        si(*rx),
        si(*tx_bits),
        si(*tx),
        si(*drops)
    );
    let shakes = &picture.handshakes;
    let took = shakes.mean_s.map_or_else(String::new, |s| format!(", {} on average", short(s)));
    let third = format!(
        "handshakes {}/s ({} in all, {} given up, {} waiting){took}",
        si(shakes.rate),
        shakes.total,
        shakes.given_up,
        shakes.waiting
    );
    vec![Line::from(first), Line::from(second), Line::from(third)]
}

fn thread_table(threads: &[ThreadRow]) -> Table<'static> {
    let columns = [
        ("THREAD", 7),
        ("BUSY", 5),
        ("IN pkt/s", 8),
        ("OUT pkt/s", 9),
        ("IN bit/s", 8),
        ("OUT bit/s", 9),
        ("TRAIN", 9),
        ("RING", 5),
        ("WAIT", 5),
        ("DROP/s", 6),
    ];
    let row = |thread: &ThreadRow| {
        let is_worker = thread.name != "control";
        let number = |value: f64| if is_worker { si(value) } else { String::new() };
        let train = format!("{}/{}", mean(thread.train[0]), mean(thread.train[1]));
        Row::new([
            thread.name.clone(),
            percent(thread.busy),
            number(thread.packets[0]),
            number(thread.packets[1]),
            number(thread.bits[0]),
            number(thread.bits[1]),
            if is_worker { train } else { String::new() },
            if is_worker { thread.ring.to_string() } else { String::new() },
            thread.waiting.to_string(),
            si(thread.drops),
        ])
        .style(if thread.busy.is_some_and(|busy| busy > 0.95) {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        })
    };
    table(threads.iter().map(row), &columns)
}

fn drop_table(app: &App) -> Table<'static> {
    let row = |(reason, seen): (&str, super::app::Seen)| {
        let fresh = seen.ago_s < 1.5 * app.interval().as_secs_f64();
        let when = if fresh { "now".to_owned() } else { format!("{} ago", duration(seen.ago_s)) };
        let row = Row::new([reason.to_owned(), si(seen.drop.rate), seen.drop.total.to_string(), when]);
        row.style(if fresh { Style::new().fg(Color::Red) } else { DIM })
    };
    let columns = [("DROPPED", 24), ("/s", 7), ("IN ALL", 12), ("WHEN", 12)];
    table(app.drops().into_iter().take(DROPS_MAX).map(row), &columns)
}

fn peer_table(app: &App, area: Rect) -> Table<'static> {
    let wide = area.width >= WIDE;
    let name_width = if wide { 44 } else { 17 };
    let mut columns = vec![("PEER", name_width), ("STATE", 11), ("IN bit/s", 8), ("OUT bit/s", 9)];
    if wide {
        columns.extend([("IN", 6), ("OUT", 6), ("WORKER", 6), ("DROPS", 6)]);
    }
    columns.push(("HANDSHAKE", 10));
    let rows = app.picture().rows.iter().skip(app.scroll()).take(usize::from(area.height.saturating_sub(1)));
    let row = |peer: &PeerRow| {
        let rate = |which: usize| peer.bits.map_or_else(|| "-".to_owned(), |bits| si(bits[which]));
        let mut cells = vec![shorten(&peer.name, usize::from(name_width)), peer.state.clone(), rate(0), rate(1)];
        if wide {
            let worker = peer.worker.map_or_else(String::new, |worker| worker.to_string());
            cells.extend([si(peer.bytes[0] as f64), si(peer.bytes[1] as f64), worker, si(peer.drops as f64)]);
        }
        cells.push(peer.handshake_s.map_or_else(|| "never".to_owned(), duration));
        cells.push(peer.endpoint.clone());
        let style = match peer.state.as_str() {
            "up" => Style::new(),
            "refused" => Style::new().fg(Color::Red),
            "unreachable" | "waiting" => Style::new().fg(Color::Yellow),
            _ => DIM,
        };
        Row::new(cells).style(style)
    };
    let mut widths: Vec<Constraint> = columns.iter().map(|&(_, width)| Constraint::Length(width)).collect();
    widths.push(Constraint::Min(10));
    let names = columns.iter().map(|&(name, _)| name.to_owned()).chain(["ENDPOINT".to_owned()]);
    Table::new(rows.map(row), widths).header(Row::new(names).style(HEADER)).column_spacing(1)
}

fn table(rows: impl Iterator<Item = Row<'static>>, columns: &[(&str, u16)]) -> Table<'static> {
    let widths = columns.iter().map(|&(_, width)| Constraint::Length(width));
    let names = columns.iter().map(|&(name, _)| name.to_owned());
    Table::new(rows, widths).header(Row::new(names).style(HEADER)).column_spacing(1)
}

/// At most so many characters. Of a key the beginning is enough to find it in `wg show`.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn footer(app: &App) -> Paragraph<'static> {
    if let Some(error) = app.error() {
        return Paragraph::new(error.to_owned()).style(Style::new().fg(Color::Red));
    }
    let interval = app.interval().as_secs_f64();
    let order = app.sort().name();
    Paragraph::new(format!("q end  s sort: {order}  p pause  h help  every {interval} s")).style(DIM)
}

fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (64.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'_>> = HELP.iter().map(|&line| Line::from(line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" ringfort top ")), place);
}
