//! What a gateway has programs do, as a value: another process can judge it, and run it.
//!
//! A daemon that may not execute anything has its programs run by one that may ([`delegate`]). That one believes
//! nothing: it runs what this crate would run, and refuses the rest ([`Invocation::check`]).

use std::io;
use std::net::IpAddr;
use std::process::ExitStatus;
use std::sync::OnceLock;

use crate::host::Host;

/// A program with its arguments, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Its name, without a directory.
    pub program: String,
    /// Behind the name.
    pub arguments: Vec<String>,
    /// On its standard input.
    pub input: String,
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
        let is_ours = match (self.program.as_str(), arguments.as_slice()) {
            ("nft", ["-f", "-"]) => is_harmless_script(&self.input),
            ("nft", ["list", "tables"]) => self.input.is_empty(),
            ("nft", ["list", "table", "ip" | "ip6", table]) => {
                let name = table.strip_prefix("ringfort-").unwrap_or_default();
                self.input.is_empty() && !name.is_empty() && name.bytes().all(|byte| is_in_name(byte) || byte == b'/')
            }
            ("resolvconf", ["-a", record, "-m", "0", "-x"]) => {
                is_name(record) && self.input.lines().all(is_resolver_line)
            }
            ("resolvconf", ["-d", record, "-f"]) => is_name(record) && self.input.is_empty(),
            ("resolvectl", ["dns", interface, servers @ ..]) => {
                is_name(interface) && servers.iter().all(|server| server.parse::<IpAddr>().is_ok())
            }
            ("resolvectl", ["domain", interface, "~.", domains @ ..]) => {
                is_name(interface) && domains.iter().all(|domain| is_name(domain))
            }
            ("resolvectl", ["revert", interface]) => is_name(interface),
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(NotOurs(self.program.clone())) }
    }

    /// Runs it in this process, whoever else is there to do so.
    ///
    /// # Errors
    /// The system's, or that the program is not installed.
    pub fn run(&self) -> io::Result<Ended> {
        let program = Host::this().program(&self.program).ok_or(io::ErrorKind::NotFound)?;
        program.run_here(self)
    }
}

/// Characters of an interface's name, of a kind of interface, and of a domain. No shell does anything with them.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte)
}

/// Names that are not an option.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_in_name)
}

/// `nft` would read any file that an `include` names, and show it in its errors.
fn is_harmless_script(script: &str) -> bool {
    let is_separator = |char: char| char.is_whitespace() || ";{}".contains(char);
    script.split(is_separator).all(|word| word != "include") && !script.contains('\\')
}

fn is_resolver_line(line: &str) -> bool {
    match line.split_once(' ') {
        Some(("nameserver", server)) => server.parse::<IpAddr>().is_ok(),
        Some(("search", domains)) => domains.split(' ').all(is_name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(line: &str, input: &str) -> Invocation {
        let mut words = line.split(' ').map(str::to_owned);
        Invocation { program: words.next().unwrap(), arguments: words.collect(), input: input.to_owned() }
    }

    #[test]
    fn what_this_crate_runs_is_allowed() {
        for (line, input) in [
            ("nft -f -", "add table ip ringfort-wg0\ndelete table ip ringfort-wg0\n"),
            ("nft -f -", "table ip ringfort-include {\n  chain a { type filter hook prerouting priority -300; }\n}"),
            ("nft list tables", ""),
            ("nft list table ip6 ringfort-wg0/2b", ""),
            ("resolvconf -a tun.wg0 -m 0 -x", "nameserver 10.0.0.1\nnameserver fd00::1\nsearch a.example b.example\n"),
            ("resolvconf -d wg0 -f", ""),
            ("resolvectl dns wg0 10.0.0.1 fd00::1", ""),
            ("resolvectl domain wg0 ~. a.example", ""),
            ("resolvectl revert wg0", ""),
        ] {
            assert_eq!(invocation(line, input).check(), Ok(()), "{line}");
        }
    }

    #[test]
    fn whatever_reads_or_executes_something_else_is_refused() {
        for (line, input) in [
            ("sh -c id", ""),
            ("/usr/sbin/nft list tables", ""),
            ("nft -f /etc/shadow", ""),
            ("nft -f -", "include \"/etc/shadow\""),
            ("nft -f -", "table ip a {};include \"/etc/shadow\""),
            ("nft -f -", "incl\\\nude \"/etc/shadow\""),
            ("nft list table ip other", ""),
            ("resolvconf -a -m 0 -x", ""),
            ("resolvconf -a $(id) -m 0 -x", "nameserver 10.0.0.1\n"),
            ("resolvconf -a wg0 -m 0 -x", "nameserver $(id)\n"),
            ("resolvconf -a wg0 -m 0 -x", "search a;id\n"),
            ("resolvconf -a wg0 -m 0 -x", "options x\n"),
            ("resolvconf -d -x -f", ""),
            ("resolvectl dns wg0 --help", ""),
            ("resolvectl domain wg0 ~. -x", ""),
            ("resolvectl log-level debug", ""),
            ("iptables-restore --modprobe=/tmp/x", ""),
        ] {
            assert!(invocation(line, input).check().is_err(), "{line}");
        }
    }
}
