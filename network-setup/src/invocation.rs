//! What a gateway has programs do, as a value: another process can judge it, and run it.
//!
//! A daemon that may not execute anything has its programs run by one that may ([`delegate`]). That one believes
//! nothing: it runs what this crate would run, and refuses the rest ([`Invocation::check`]).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::process::ExitStatus;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::setup::is_domain;
use crate::tables::{TableChange, is_table_name};

/// A program with its arguments, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// Its name, without a directory.
    pub program: String,
    /// Behind the name.
    pub arguments: Vec<String>,
    /// On its standard input.
    pub input: Input,
}

/// What a program reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A text of lines that are easily judged.
    Text(String),
    /// Changes of the firewall. Whoever runs the program makes its text of them: `nft` has a language in which a
    /// script cannot be told to be harmless by its words.
    Tables(Vec<TableChange>),
}

/// How a program has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `None` if it took too long and was stopped.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// An invocation that is none of this crate's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not run like this to set a network up")]
pub struct NotOurs(String);

type Run = dyn Fn(&Invocation) -> io::Result<Ended> + Send + Sync;

/// Who runs programs in place of this process.
static DELEGATE: OnceLock<Box<Run>> = OnceLock::new();

/// From now on `run` runs the programs of this process, for instance in another one. Only the first call counts.
pub fn delegate(run: impl Fn(&Invocation) -> io::Result<Ended> + Send + Sync + 'static) {
    let _ = DELEGATE.set(Box::new(run));
}

pub(crate) fn delegated() -> Option<&'static Run> {
    DELEGATE.get().map(|run| &**run)
}

impl Invocation {
    /// Whether this crate makes such invocations. Who runs them for a process that may be in strange hands asks first:
    /// what is allowed changes name servers and our own firewall tables, and reads or executes nothing else.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub fn check(&self) -> Result<(), NotOurs> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let is_ours = match (&self.input, self.program.as_str(), arguments.as_slice()) {
            (Input::Tables(changes), "nft", ["-f", "-"]) => changes.iter().all(TableChange::is_valid),
            (Input::Tables(_), ..) => false,
            (Input::Text(input), program, arguments) => is_plain(program, arguments, input),
        };
        if is_ours { Ok(()) } else { Err(NotOurs(self.program.clone())) }
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<TableChange>> for Input {
    fn from(changes: Vec<TableChange>) -> Self {
        Self::Tables(changes)
    }
}

/// As the program reads it.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Tables(changes) => changes.iter().try_for_each(|change| change.fmt(f)),
        }
    }
}

/// Whether this crate runs the program like this, with a text.
fn is_plain(program: &str, arguments: &[&str], input: &str) -> bool {
    match (program, arguments) {
        ("nft", ["list", "tables"]) => input.is_empty(),
        ("nft", ["list", "table", "ip" | "ip6", table]) => input.is_empty() && is_table_name(table),
        ("resolvconf", ["-a", record, "-m", "0", "-x"]) => is_name(record) && input.lines().all(is_resolver_line),
        ("resolvconf", ["-d", record, "-f"]) => is_name(record) && input.is_empty(),
        ("resolvectl", ["dns", interface, servers @ ..]) => {
            is_name(interface) && servers.iter().all(|server| server.parse::<IpAddr>().is_ok())
        }
        ("resolvectl", ["domain", interface, "~.", domains @ ..]) => {
            is_name(interface) && domains.iter().all(|domain| is_domain(domain))
        }
        ("resolvectl", ["revert", interface]) => is_name(interface),
        _ => false,
    }
}

/// Characters of an interface's name, and of a kind of interface. No shell does anything with them.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte)
}

/// Names that are not an option.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_in_name)
}

fn is_resolver_line(line: &str) -> bool {
    match line.split_once(' ') {
        Some(("nameserver", server)) => server.parse::<IpAddr>().is_ok(),
        Some(("search", domains)) => domains.split(' ').all(is_domain),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::setup::{Dns, Setup};
    use crate::tables::{Family, TableContent, table_name};

    fn invocation(line: &str, input: impl Into<Input>) -> Invocation {
        let mut words = line.split(' ').map(str::to_owned);
        Invocation { program: words.next().unwrap(), arguments: words.collect(), input: input.into() }
    }

    fn make(family: Family, interface: &str, addresses: &[&str]) -> Vec<TableChange> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let content = TableContent { mark: 51820, addresses };
        vec![TableChange::Make { family, interface: interface.to_owned(), content }]
    }

    #[test]
    fn what_this_crate_runs_is_allowed() {
        for (line, input) in [
            ("nft list tables", ""),
            ("nft list table ip6 ringfort-wg0/2b", ""),
            ("resolvconf -a tun.wg0 -m 0 -x", "nameserver 10.0.0.1\nnameserver fd00::1\nsearch a.example ~b.example\n"),
            ("resolvconf -d wg0 -f", ""),
            ("resolvectl dns wg0 10.0.0.1 fd00::1", ""),
            ("resolvectl domain wg0 ~. a.example ~b.example ~.", ""),
            ("resolvectl revert wg0", ""),
        ] {
            assert_eq!(invocation(line, input).check(), Ok(()), "{line}");
        }
        let interface = "wg0+=_.-".to_owned();
        for changes in [
            make(Family::Ip, &interface, &["10.0.0.1"]),
            make(Family::Ip6, &interface, &["fd00::1", "::ffff:10.0.0.1"]),
            vec![TableChange::Remove { family: Family::Ip, interface }],
        ] {
            let invocation = invocation("nft -f -", changes);
            assert_eq!(invocation.check(), Ok(()), "{}", invocation.input);
        }
    }

    #[test]
    fn whatever_reads_or_executes_something_else_is_refused() {
        for (line, input) in [
            ("sh -c id", ""),
            ("/usr/sbin/nft list tables", ""),
            ("nft -f /etc/shadow", ""),
            ("nft -f -", "add table ip ringfort-wg0\ndelete table ip ringfort-wg0\n"),
            ("nft -f -", "include \"/etc/shadow\""),
            ("nft -f -", "include\"/etc/shadow\""),
            ("nft -f -", "flush ruleset"),
            ("nft -f -", ""),
            ("nft list ruleset", ""),
            ("nft list table ip other", ""),
            ("nft list table ip ringfort-", ""),
            ("nft list table ip ringfort-wg0/2f", ""),
            ("nft list table ip ringfort-wg0;flush", ""),
            ("nft list table inet ringfort-wg0", ""),
            ("nft delete table ip ringfort-wg0", ""),
            ("resolvconf -a -m 0 -x", ""),
            ("resolvconf -a $(id) -m 0 -x", "nameserver 10.0.0.1\n"),
            ("resolvconf -a wg0 -m 0 -x", "nameserver $(id)\n"),
            ("resolvconf -a wg0 -m 0 -x", "search a;id\n"),
            ("resolvconf -a wg0 -m 0 -x", "options x\n"),
            ("resolvconf -d -x -f", ""),
            ("resolvectl dns wg0 --help", ""),
            ("resolvectl domain wg0 ~. -x", ""),
            ("resolvectl domain wg0 ~. ~-x", ""),
            ("resolvectl log-level debug", ""),
            ("iptables-restore --modprobe=/tmp/x", ""),
        ] {
            assert!(invocation(line, input).check().is_err(), "{line}");
        }
    }

    proptest! {
        /// A setup that is accepted is not refused half way.
        #[test]
        fn what_a_setup_may_name_is_allowed(
            interface in "[a-z=+._~/-]{0,16}",
            search in "[a-z.=+/ _~-]{0,4}|~?[a-z]{1,255}",
        ) {
            let dns = Dns { servers: Vec::new(), search: vec![search.clone()] };
            let is_accepted = Setup { interface: interface.clone(), dns, ..Setup::default() }.check().is_ok();
            let search_line = format!("search {search}\n");
            for (line, input) in [
                (format!("resolvconf -a {interface} -m 0 -x"), search_line.as_str()),
                (format!("resolvectl domain {interface} ~. {search}"), ""),
                (format!("nft list table ip {}", table_name(&interface)), ""),
            ] {
                prop_assert!(!is_accepted || invocation(&line, input).check().is_ok(), "{line} {input}");
            }
        }
    }

    #[test]
    fn tables_that_would_be_more_than_tables_are_refused() {
        let is_refused = |line: &str, changes: Vec<TableChange>| invocation(line, changes).check().is_err();
        for name in
            ["", "a b", "a\" drop }", "a\ninclude\"/etc/shadow\"", "a;flush ruleset", "a/2b", "sixteen-letters-"]
        {
            assert!(is_refused("nft -f -", make(Family::Ip, name, &["10.0.0.1"])), "{name}");
            let removed = TableChange::Remove { family: Family::Ip, interface: name.to_owned() };
            assert!(is_refused("nft -f -", vec![removed]), "{name}");
        }
        assert!(is_refused("nft -f -", make(Family::Ip, "wg0", &["fd00::1"])));
        assert!(is_refused("nft -f /etc/shadow", make(Family::Ip, "wg0", &[])));
        assert!(is_refused("resolvconf -d wg0 -f", make(Family::Ip, "wg0", &[])));
    }
}
