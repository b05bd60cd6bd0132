//! `ringfort top` in a terminal of tmux, beside a gateway at work.

use std::process::Command;

use ringfort_testbed::command::{output, run};
use ringfort_testbed::ping::Pinger;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Tunnel, janitor};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{eventually, us};

/// A terminal, with a server of tmux of its own. Dropping it ends both.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs the program under test with `words` in eighty columns.
    fn running(words: &str) -> Self {
        let terminal = Self { socket: janitor::unique_name() };
        let line = format!("exec {} {words}", us().path.display());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &line]);
        terminal
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(words);
        command.env("TERM", "xterm-256color").env("TMUX_TMPDIR", janitor::directory());
        command
    }

    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).unwrap_or_else(|error| panic!("tmux, of the package of that name: {error}"))
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until a line of the screen has all of these words.
    #[track_caller]
    fn await_line(&self, words: &[&str]) {
        let has = |line: &str| words.iter().all(|word| line.contains(word));
        eventually(
            PATIENCE,
            &format!("a line with {words:?} on the screen, which began with\n{}", self.screen()),
            || self.screen().lines().any(has),
        );
    }

    /// Whether the program still runs: tmux ends with it.
    fn is_there(&self) -> bool {
        output(&mut self.command(&["has-session"])).is_ok_and(|output| output.status.success())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = output(&mut self.command(&["kill-server"]));
    }
}

#[test]
fn a_terminal_of_eighty_columns_shows_traffic_and_hears_keys() {
    let shown = us().with_options("--workers 2");
    let tunnel = Tunnel::connected([&shown, &us()], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let interface = &tunnel.sides[0].interface;
    let terminal = Terminal::running(&format!("top --interval 0.25 {interface}"));
    terminal.await_line(&["ringfort top", interface, "up", "1 peers (1 up)"]);
    terminal.await_line(&["THREAD", "BUSY", "TRAIN", "RING", "DROP"]);
    let key = tunnel.sides[1].keys.public.base64();
    terminal.await_line(&[&key[..16], "up", "10.200.0.2:51820"]);
    // Traffic is seen as it passes, and what is thrown away as it happens.
    let mut pinger = Pinger::new(tunnel.namespace(0), tunnel.sides[1].inner(Family::V4)).unwrap();
    eventually(PATIENCE, "rates are shown", || {
        pinger.ping(1000, PATIENCE).unwrap();
        terminal.screen().lines().any(|line| line.starts_with("in ") && !line.starts_with("in 0bit/s"))
    });
    tunnel.namespace(0).run(&format!("ip route add 10.99.0.0/24 dev {interface}")).unwrap();
    eventually(PATIENCE, "a drop is shown by its name", || {
        let _ = tunnel.namespace(0).run("ping -c 1 -W 1 10.99.0.1");
        terminal.screen().lines().any(|line| line.starts_with("no_route"))
    });
    terminal.press("s");
    terminal.await_line(&["q end", "s sort: in"]);
    terminal.press("h");
    terminal.await_line(&["next order of the peers"]);
    terminal.press("h");
    terminal.press("p");
    terminal.await_line(&["ringfort top", "paused"]);
    terminal.press("p");
    terminal.tmux(&["resize-window", "-x", "160", "-y", "40"]);
    terminal.await_line(&["PEER", "WORKER", "ENDPOINT"]);
    terminal.await_line(&[&key]);
    terminal.tmux(&["resize-window", "-x", "30", "-y", "8"]);
    eventually(PATIENCE, "the small screen is drawn", || terminal.screen().lines().all(|line| line.len() < 40));
    // Crossterm takes one event of those that come together, and leaves a key beside a new size until the next key.
    eventually(PATIENCE, "it has ended", || {
        let _ = output(&mut terminal.command(&["send-keys", "q"]));
        !terminal.is_there()
    });
}

#[test]
fn it_says_why_it_cannot_show_anything() {
    let output = Command::new(us().path).args(["top", "nobody-is-here"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no daemon serves interface nobody-is-here"), "{text}");
    assert!(output.stdout.is_empty(), "the screen is left alone");
}

/// The gateway ends while somebody looks: that is said, and keys are heard.
#[test]
fn a_gateway_that_ends_is_said() {
    let mut tunnel = Tunnel::connected([&us(), &us()], &Peering::default()).unwrap();
    let interface = tunnel.sides[0].interface.clone();
    let terminal = Terminal::running(&format!("top --interval 0.25 {interface}"));
    terminal.await_line(&["ringfort top", &interface]);
    tunnel.sides[0].daemon.take().unwrap().stop().unwrap();
    terminal.await_line(&["no daemon serves interface"]);
    // Crossterm takes one event of those that come together, and leaves a key beside a new size until the next key.
    eventually(PATIENCE, "it has ended", || {
        let _ = output(&mut terminal.command(&["send-keys", "q"]));
        !terminal.is_there()
    });
}
