//! The side of the commands. They wait for one thing each, so they need no runtime.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{Request, Status, socket_path};
use crate::cli::{DrainArgs, ResumeArgs, StatusArgs};
use crate::error::AgentError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The status of a drain that did not come to its end.
const SOME_ARE_LEFT: u8 = 3;
/// Peers that are named in text.
const NAMED_MAX: usize = 20;

/// Prints what the agent knows.
///
/// # Errors
/// It does not answer, or the answer cannot be written.
pub fn status(args: &StatusArgs) -> Result<ExitCode, AgentError> {
    let status = Asking::ask(&args.interface, Request::Status)?.first()?;
    print(&if args.json { json(&status) } else { words(&status) })?;
    Ok(ExitCode::SUCCESS)
}

/// Has the agent take peers again.
///
/// # Errors
/// It does not answer, or the answer cannot be written.
pub fn resume(args: &ResumeArgs) -> Result<ExitCode, AgentError> {
    Asking::ask(&args.interface, Request::Resume)?.first()?;
    print("peers are taken again\n")?;
    Ok(ExitCode::SUCCESS)
}

/// Has the agent give all peers away, and waits until they are gone.
///
/// # Errors
/// It does not answer, or ends, or the answer cannot be written.
pub fn drain(args: &DrainArgs) -> Result<ExitCode, AgentError> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout.into());
    let mut asking = Asking::ask(&args.interface, Request::Drain)?;
    // The first answer comes at once, however short the time is.
    let mut status = asking.first()?;
    while status.owned > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        match asking.next(left)? {
            Some(next) => status = next,
            None => break,
        }
    }
    print(&if args.json { json(&status) } else { left(&status) })?;
    Ok(if status.owned == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_ARE_LEFT) })
}

/// A request on its way.
struct Asking {
    interface: String,
    answers: BufReader<UnixStream>,
}

impl Asking {
    fn ask(interface: &str, request: Request) -> Result<Self, AgentError> {
        let path = socket_path(interface);
        let ask = || {
            let mut stream = UnixStream::connect(&path)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(format!("{}\n", request.word()).as_bytes())?;
            Ok(stream)
        };
        let stream = ask().map_err(|source| AgentError::NotThere {
            interface: interface.to_owned(),
            path: path.clone(),
            source,
        })?;
        Ok(Self { interface: interface.to_owned(), answers: BufReader::new(stream) })
    }

    /// The first answer, which comes at once.
    fn first(&mut self) -> Result<Status, AgentError> {
        let answer = self.next(PATIENCE)?;
        answer.ok_or_else(|| AgentError::Silent { interface: self.interface.clone(), time: PATIENCE })
    }

    /// The next answer; `None` if there is none in this time.
    fn next(&mut self, patience: Duration) -> Result<Option<Status>, AgentError> {
        let deadline = Instant::now() + patience;
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let ended = || AgentError::Ended(self.interface.clone());
            self.answers.get_ref().set_read_timeout(Some(left)).map_err(AgentError::system("wait for the agent"))?;
            match self.answers.read_until(b'\n', &mut line) {
                Ok(0) => return Err(ended()),
                Ok(_) if line.ends_with(b"\n") => return serde_json::from_slice(&line).map(Some).map_err(|_| ended()),
                Ok(_) => return Err(ended()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(source) => return Err(AgentError::System { what: "read what the agent says", source }),
            }
        }
    }
}

/// Whoever closed the pipe has read what they wanted.
fn print(text: &str) -> Result<(), AgentError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(AgentError::system("write to the standard output")(error))
        }
        _ => Ok(()),
    }
}

fn json(status: &Status) -> String {
    serde_json::to_string(status).unwrap_or_default() + "\n"
}

fn words(status: &Status) -> String {
    let Status { totals, .. } = status;
    let etcd = status.etcd.as_deref().unwrap_or("away; peers and routes stay as they are");
    let lost = match &status.nodes_lost[..] {
        [] => String::new(),
        nodes => format!("nodes without route {}\n", nodes.join(", ")),
    };
    format!(
        "interface {} of network {}, node {}{}\n\
         gateway             {}\n\
         etcd                {etcd}\n\
         peers in etcd       {}, of which {} have a value that is refused\n\
         peers here          {}\n\
         sessions here       {}, of which {} are no other node's\n\
         claims              {} of this node, {} of others\n\
         routes              {}\n\
         {lost}\
         so far              {} changes of the gateway, {} refused; {} claims, {} overtaken; {} routes refused;\n\
         \x20                   {} values refused; etcd listed {} times, lost {} times; sessions of others recovered\n\
         \x20                   {} times\n",
        status.interface,
        status.network,
        status.node,
        if status.draining { ", drained" } else { "" },
        status.gateway,
        status.peers_listed,
        status.peers_bad,
        status.peers,
        status.sessions,
        status.owned,
        status.claimed,
        status.claimed_elsewhere,
        status.routes,
        totals.gateway_changes,
        totals.gateway_refusals,
        totals.claims,
        totals.claim_conflicts,
        totals.route_refusals,
        totals.bad_values,
        totals.etcd_lists,
        totals.etcd_losses,
        totals.recoveries,
    )
}

fn left(status: &Status) -> String {
    if status.owned == 0 {
        return format!("node {} is drained: no peer has its only session here\n", status.node);
    }
    let mut text = format!("{} peers have a session here and nowhere else:\n", status.owned);
    for peer in status.owned_peers.iter().take(NAMED_MAX) {
        text += &format!("  {peer}\n");
    }
    if status.owned > NAMED_MAX {
        text += "  … (all with --json)\n";
    }
    text
}
