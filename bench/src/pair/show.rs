//! The table, and the same as JSON.

use std::time::Duration;

use ringfort_testbed::{Context, Error, Result};
use serde::Serialize;

use super::clients::Client;
use super::events::{Event, Seen};
use super::roles::Roles;
use crate::results::stats::Spread;
use crate::table::Table;
use crate::text::{duration, table};

/// All that was measured. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub struct Report {
    cpu: String,
    interval_ms: u64,
    endpoints_by_ssh: bool,
    roles: Option<RoleTimes>,
    events: Vec<EventTimes>,
}

/// Medians and worst of rounds.
#[derive(Debug, Serialize)]
struct RoleTimes {
    rounds: usize,
    promote: Times,
    promote_until_data_passes: Times,
    demote: Times,
    demote_until_silent: Times,
}

#[derive(Debug, Serialize)]
struct Times {
    median_ms: f64,
    worst_ms: f64,
}

#[derive(Debug, Serialize)]
struct EventTimes {
    event: &'static str,
    address_after_ms: Option<f64>,
    clients: Vec<ClientTimes>,
}

#[derive(Debug, Serialize)]
struct ClientTimes {
    client: &'static str,
    direction: &'static str,
    is_back: bool,
    outage_ms: f64,
    after_address_ms: Option<f64>,
    sent: u64,
    lost: u64,
}

impl Report {
    /// What these events were for these clients.
    pub fn new(interval_ms: u64, clients: &[Client], roles: &Roles, events: Vec<Event>, by_ssh: bool) -> Self {
        let events = events.into_iter().map(|event| EventTimes {
            event: event.name,
            address_after_ms: event.address_after.map(ms),
            clients: clients.iter().zip(event.clients).map(|(client, seen)| times_of(client, seen)).collect(),
        });
        let rounds = roles.promote.len();
        let roles = (rounds > 0).then(|| RoleTimes {
            rounds,
            promote: Times::of(&roles.promote),
            promote_until_data_passes: Times::of(&roles.answers),
            demote: Times::of(&roles.demote),
            demote_until_silent: Times::of(&roles.silent),
        });
        Self { cpu: cpu(), interval_ms, endpoints_by_ssh: by_ssh, roles, events: events.collect() }
    }

    /// Prints it.
    pub fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            println!("{}", serde_json::to_string_pretty(self).context("writing JSON")?);
            return Ok(());
        }
        if let Some(roles) = &self.roles {
            println!("Promotion and demotion by command, {} rounds ({})", roles.rounds, self.cpu);
            let mut rows = table(&["", "median", "worst"]);
            for (name, times) in [
                ("ringfort promote has returned", &roles.promote),
                ("a client's data passes, after a new session", &roles.promote_until_data_passes),
                ("ringfort demote has returned", &roles.demote),
                ("the last datagram has passed", &roles.demote_until_silent),
            ] {
                rows.add_row([name, &shown(times.median_ms), &shown(times.worst_ms)]);
            }
            println!("{rows}");
        }
        println!("Outages of clients, as their receivers see them; one datagram each {} ms", self.interval_ms);
        println!("{}", self.outages());
        println!("After the address was on the other machine, and datagrams that were lost in all");
        println!("{}", self.after_address());
        Ok(())
    }

    fn outages(&self) -> Table {
        let mut rows = self.table();
        let address = self.events.iter().map(|event| event.address_after_ms.map_or("–".to_owned(), shown));
        rows.add_row(["the address has moved".to_owned(), String::new()].into_iter().chain(address));
        self.fill(&mut rows, |one| if one.is_back { shown(one.outage_ms) } else { "not back".to_owned() });
        rows
    }

    fn after_address(&self) -> Table {
        let mut rows = self.table();
        self.fill(&mut rows, |one| {
            format!("{}, {} lost", one.after_address_ms.map_or("–".to_owned(), shown), one.lost)
        });
        rows
    }

    fn table(&self) -> Table {
        let head: Vec<_> = ["client", ""].into_iter().chain(self.events.iter().map(|event| event.event)).collect();
        table(&head)
    }

    fn fill(&self, rows: &mut Table, cell: impl Fn(&ClientTimes) -> String) {
        let clients = self.events.first().map_or(&[][..], |event| &event.clients);
        for (index, client) in clients.iter().enumerate() {
            let cells = self.events.iter().map(|event| cell(&event.clients[index]));
            let head = [client.client.to_owned(), client.direction.to_owned()];
            rows.add_row(head.into_iter().chain(cells));
        }
    }

    /// Everybody came back each time.
    pub fn check(&self) -> Result<()> {
        for event in &self.events {
            if let Some(lost) = event.clients.iter().find(|client| !client.is_back) {
                let (client, direction) = (lost.client, lost.direction);
                return Err(Error::new(format!("{client}, which {direction}, is not back: {}", event.event)));
            }
        }
        Ok(())
    }
}

impl Times {
    fn of(times: &[Duration]) -> Self {
        let times: Vec<f64> = times.iter().copied().map(ms).collect();
        let (median_ms, worst_ms) = Spread::of(&times).map_or((0.0, 0.0), |spread| (spread.median, spread.max));
        Self { median_ms, worst_ms }
    }
}

fn times_of(client: &Client, seen: Seen) -> ClientTimes {
    ClientTimes {
        client: client.name,
        direction: if client.sends { "sends" } else { "only receives" },
        is_back: seen.is_back,
        outage_ms: ms(seen.outage.longest),
        after_address_ms: seen.after_address.map(ms),
        sent: seen.outage.sent,
        lost: seen.outage.lost,
    }
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn shown(ms: f64) -> String {
    duration(Duration::from_secs_f64(ms / 1e3))
}

/// What the kernel calls this CPU.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_rounds_is_between_two() {
        let times = Times::of(&[18, 3].map(Duration::from_millis));
        assert_eq!((times.median_ms, times.worst_ms), (10.5, 18.0));
        let times = Times::of(&[18, 3, 4].map(Duration::from_millis));
        assert_eq!((times.median_ms, times.worst_ms), (4.0, 18.0));
    }
}
