//! `ringfort top`: what a gateway does, as it does it.
//!
//! ```text
//!   keys ──────────────────────┐
//!   asking ── /overview ──► Picture (what changed between two answers) ──► App ──► draw ──► terminal
//! ```
//!
//! It asks the socket for metrics once in an interval, and not at all while it is paused. The gateway does nothing for
//! it in between. [`draw::draw`] is a function of [`App`], so the tests look at what it draws without a terminal.

mod app;
mod asking;
pub mod draw;
mod picture;
mod units;

#[cfg(test)]
mod tests;

pub use app::{App, Sort};
pub use asking::ask;
pub use picture::Picture;

use std::io;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::control::error::DaemonError;
use asking::Asker;

/// How often to look for an answer that is under way; keys are heard at once.
const TICK: Duration = Duration::from_millis(50);

/// Shows the gateway of interface `name` until somebody has seen enough.
///
/// # Errors
/// Nobody serves the interface, or there is no terminal.
pub fn run(name: &str, interval: Duration) -> Result<(), DaemonError> {
    // Before the screen changes, so the reason is read where it belongs.
    let first = ask(name)?;
    let failed = |source: io::Error| DaemonError::system("use the terminal", source);
    let asker = Asker::new(name).map_err(failed)?;
    let mut app = App::new(name, interval);
    app.answered(Ok(first));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let result = serve(&mut terminal, &mut app, &asker);
    ratatui::restore();
    result.map_err(failed)
}

fn serve(terminal: &mut DefaultTerminal, app: &mut App, asker: &Asker) -> io::Result<()> {
    let mut due = Instant::now() + app.interval();
    let mut waits = false;
    loop {
        terminal.draw(|frame| draw::draw(frame, app))?;
        if let Some(answer) = asker.answer() {
            app.answered(answer);
            waits = false;
            continue;
        }
        let now = Instant::now();
        if !app.is_paused() && !waits && now >= due {
            asker.ask();
            waits = true;
            due = now + app.interval();
        }
        let patience = match () {
            () if waits => TICK,
            () if app.is_paused() => Duration::from_secs(3600),
            () => due.saturating_duration_since(now),
        };
        if event::poll(patience)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => app.press(key),
                // The next turn draws for the new size.
                _ => {}
            }
        }
        if app.is_done() {
            return Ok(());
        }
    }
}
