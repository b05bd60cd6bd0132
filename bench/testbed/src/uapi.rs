//! A client of the cross-platform userspace API (<https://www.wireguard.com/xplatform/>): lines of `key=value`, an
//! empty line at the end, one `errno=` in the answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Context, Error, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer: its pairs in order, without `errno`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `key=value` lines as they came.
    pub pairs: Vec<(String, String)>,
    /// 0, or a negative error number.
    pub errno: i32,
}

/// Where the gateway of `interface` listens.
pub fn socket_path(interface: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{interface}.sock"))
}

/// Sends `text` as it is and returns the answer.
///
/// # Errors
/// The socket does not answer, or what it says is not `key=value` with an `errno`.
pub fn request(interface: &str, text: &str) -> Result<Answer> {
    let path = socket_path(interface);
    let mut stream = UnixStream::connect(&path).context(path.display())?;
    stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
    stream.set_write_timeout(Some(PATIENCE)).context("setting a timeout")?;
    stream.write_all(text.as_bytes()).context("writing to the UAPI socket")?;
    let mut answer = Vec::new();
    let mut piece = [0; 16_384];
    while !answer.ends_with(b"\n\n") {
        match stream.read(&mut piece).context("reading from the UAPI socket")? {
            0 => break,
            len => answer.extend_from_slice(&piece[..len]),
        }
    }
    parse(&String::from_utf8_lossy(&answer))
}

/// `get=1`: the configuration and the state of all peers.
///
/// # Errors
/// As [`request`], or the gateway refused.
pub fn get(interface: &str) -> Result<Vec<(String, String)>> {
    accepted(request(interface, "get=1\n\n")?)
}

/// `set=1` with the given lines (each ended by a newline).
///
/// # Errors
/// As [`request`], or the gateway refused.
pub fn set(interface: &str, lines: &str) -> Result<()> {
    accepted(request(interface, &format!("set=1\n{lines}\n"))?).map(drop)
}

/// `stats=1`, an operation of Ringfort's own: every counter by its name.
///
/// # Errors
/// As [`request`], or the gateway does not know it, or a value is not a number.
pub fn stats(interface: &str) -> Result<BTreeMap<String, u64>> {
    accepted(request(interface, "stats=1\n\n")?)?
        .into_iter()
        .map(|(name, value)| {
            let number = value.parse().context(format_args!("{name}={value}"))?;
            Ok((name, number))
        })
        .collect()
}

/// The sum of `rx_bytes` and of `tx_bytes` over all peers of an answer to `get=1`.
pub fn transfer(pairs: &[(String, String)]) -> (u64, u64) {
    let sum = |wanted: &str| {
        let values = pairs.iter().filter(|(key, _)| key == wanted);
        values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    (sum("rx_bytes"), sum("tx_bytes"))
}

fn accepted(answer: Answer) -> Result<Vec<(String, String)>> {
    match answer.errno {
        0 => Ok(answer.pairs),
        errno => Err(Error::new(format!("the gateway refused with errno={errno}"))),
    }
}

fn parse(text: &str) -> Result<Answer> {
    let mut pairs = Vec::new();
    let mut errno = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(Error::new(format!("the gateway answered {line:?}, which is not key=value")));
        };
        if key == "errno" {
            errno = Some(value.parse().context(line)?);
        } else {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    let errno = errno.ok_or_else(|| Error::new(format!("the gateway answered {text:?}, without an errno")))?;
    Ok(Answer { pairs, errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed() {
        let answer = parse("listen_port=51820\nrx_bytes=3\nrx_bytes=4\ntx_bytes=5\nerrno=0\n\n").unwrap();
        assert_eq!(answer.errno, 0);
        assert_eq!(transfer(&answer.pairs), (7, 5));
        assert_eq!(parse("errno=-22\n\n").unwrap().errno, -22);
        assert!(parse("").is_err());
        assert!(parse("nonsense\nerrno=0\n\n").is_err());
    }
}
