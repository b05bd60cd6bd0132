//! The gateway of this node, through its control socket.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use crate::state::{GatewayOp, Had};
use crate::uapi::{self, News, Peers, socket_path};

/// The longest line of an answer, and what is read at once, in bytes.
const BUFFER_LEN: usize = 64 << 10;
/// Peers that are passed on at once.
const CHUNK: usize = 512;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this time without a gateway there is none. One that is replaced by a new binary is away for less.
const GRACE: Duration = Duration::from_secs(2);
/// Until the next attempt.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500)];

/// What the gateway says.
#[derive(Debug)]
pub enum FromGateway {
    /// Somebody watches it now. What follows is about this connection.
    Opened,
    /// Some of its peers.
    Had(Vec<Had>),
    /// These were all.
    HadAll,
    /// What happens to its peers.
    News(Vec<News>),
    /// The connection has ended: why.
    Closed(String),
    /// It has not come back for a while: why nobody can be asked.
    Absent(String),
    /// It may be there, and we may not speak with it: why.
    Denied(String),
}

/// Follows the gateway, whenever it is there, until nobody listens. Whatever comes through `restart` ends a connection.
pub async fn follow(interface: String, events: Sender<impl From<FromGateway>>, mut restart: Receiver<io::Error>) {
    let mut away_since = Some(Instant::now());
    let mut attempt = 0;
    let mut was_denied = false;
    loop {
        let mut was_open = false;
        while restart.try_recv().is_ok() {}
        let ended = tokio::select! {
            ended = watch(&interface, &events, &mut was_open) => ended,
            Some(error) = restart.recv() => Err(error),
        };
        let Err(error) = ended else { return };
        if was_open {
            (away_since, attempt) = (Some(Instant::now()), 0);
            if events.send(FromGateway::Closed(error.to_string()).into()).await.is_err() {
                return;
            }
        }
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
        if is_denied && !was_denied && events.send(FromGateway::Denied(error.to_string()).into()).await.is_err() {
            return;
        }
        was_denied = is_denied;
        if error.kind() == io::ErrorKind::ResourceBusy {
            // It is there. Whoever gets its peers may need a moment from its end on.
            away_since = away_since.map(|_| Instant::now());
        }
        if away_since.is_some_and(|since| since.elapsed() >= GRACE) {
            away_since = None;
            if events.send(FromGateway::Absent(error.to_string()).into()).await.is_err() {
                return;
            }
        }
        sleep(AGAIN[attempt.min(AGAIN.len() - 1)]).await;
        attempt += 1;
    }
}

/// Until the gateway ends (an error), or nobody listens any more.
async fn watch(interface: &str, events: &Sender<impl From<FromGateway>>, was_open: &mut bool) -> io::Result<()> {
    let mut news = Lines::ask(interface, "watch=1\n\n").await?;
    let mut first = Some(timeout(PATIENCE, news.next()).await??);
    if let Some(errno) = first.as_ref().and_then(|line| line.strip_prefix("errno=")) {
        if errno.parse().is_ok_and(is_busy) {
            return Err(busy());
        }
        return Err(io::Error::other(format!("the gateway lets nobody watch (errno {errno}): its log may say why")));
    }
    if let Some(News::Refused(why)) = first.as_ref().map(|line| News::parse(line.as_str(), 0)) {
        return Err(io::Error::other(format!("the gateway does not let us watch: {why}")));
    }
    *was_open = true;
    if events.send(FromGateway::Opened.into()).await.is_err() {
        return Ok(());
    }
    if !list(interface, events).await? {
        return Ok(());
    }
    loop {
        let mut some = Vec::new();
        // All that one read has brought.
        let mut line = Some(match first.take() {
            Some(line) => line,
            None => news.next().await?,
        });
        while let Some(text) = line {
            some.push(News::parse(text.as_str(), Timestamp::now().as_millisecond()));
            line = news.buffered()?;
        }
        if events.send(FromGateway::News(some).into()).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads all peers. False: nobody listens.
async fn list(interface: &str, events: &Sender<impl From<FromGateway>>) -> io::Result<bool> {
    let mut lines = Lines::ask(interface, "get=1\n\n").await?;
    let (mut peers, mut chunk) = (Peers::default(), Vec::new());
    while peers.errno().is_none() {
        let line = timeout(PATIENCE, lines.next()).await??;
        chunk.extend(peers.line(line.as_str()));
        if chunk.len() >= CHUNK && events.send(FromGateway::Had(std::mem::take(&mut chunk)).into()).await.is_err() {
            return Ok(false);
        }
    }
    if peers.errno() != Some(0) {
        return Err(io::Error::other("the gateway does not list all of its peers: it may hand them on"));
    }
    let all = events.send(FromGateway::Had(chunk).into()).await.is_ok();
    Ok(all && events.send(FromGateway::HadAll.into()).await.is_ok())
}

/// Has the gateway carry changes out, and says of each part of them whether it did. If it refuses them together, it
/// gets them in parts, down to the one that it refuses.
///
/// # Errors
/// The gateway does not answer, or takes nothing now. What it had been asked before is done.
pub async fn set(interface: &str, ops: Vec<GatewayOp>) -> (Vec<(Vec<GatewayOp>, bool)>, io::Result<()>) {
    let mut done = Vec::new();
    let mut waiting = vec![ops];
    while let Some(mut part) = waiting.pop() {
        match request(interface, uapi::set(&part).as_str(), |_| ()).await {
            Err(error) => return (done, Err(error)),
            Ok(0) => done.push((part, true)),
            // One alone is never too long.
            Ok(errno) if part.len() == 1 && is_busy(errno) => return (done, Err(busy())),
            Ok(_) if part.len() == 1 => done.push((part, false)),
            Ok(_) => {
                let second = part.split_off(part.len() / 2);
                waiting.extend([second, part]);
            }
        }
    }
    (done, Ok(()))
}

/// Has the gateway ask peers for new sessions that send under those of another gateway. False: it does not, since it is
/// down, or stands by, or does not know how.
///
/// # Errors
/// The gateway does not answer, or takes nothing now.
pub async fn recover(interface: &str) -> io::Result<bool> {
    let mut does_so = false;
    let errno = request(interface, "recover=1\n\n", |line| {
        does_so |= line.strip_prefix("recovery_s=").is_some_and(|seconds| seconds != "0");
    });
    match errno.await? {
        errno if is_busy(errno) => Err(busy()),
        errno => Ok(errno == 0 && does_so),
    }
}

/// It refuses whatever it is asked, since it hands its peers on or ends. Or the request is too long, or was cut off.
fn is_busy(errno: i32) -> bool {
    errno == -(Errno::EIO as i32)
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the gateway takes no requests: it hands its peers on, or ends")
}

/// The error number of the answer, 0 if it is done. `each` gets the lines before.
async fn request(interface: &str, text: &str, mut each: impl FnMut(&str)) -> io::Result<i32> {
    let answer = async {
        let mut lines = Lines::ask(interface, text).await?;
        loop {
            let line = lines.next().await?;
            if let Some(errno) = line.strip_prefix("errno=") {
                return errno.parse().map_err(|_| io::ErrorKind::InvalidData.into());
            }
            each(&line);
        }
    };
    timeout(PATIENCE, answer).await?
}

/// The lines of an answer, in memory that is wiped.
struct Lines {
    stream: UnixStream,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Lines {
    async fn ask(interface: &str, text: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket_path(interface)).await?;
        stream.write_all(text.as_bytes()).await?;
        Ok(Self { stream, buffer: Zeroizing::new(vec![0; BUFFER_LEN]), start: 0, end: 0 })
    }

    /// The next line, without its end.
    async fn next(&mut self) -> io::Result<Zeroizing<String>> {
        loop {
            if let Some(line) = self.buffered()? {
                return Ok(line);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the gateway says a line without an end"));
            }
            match self.stream.read(&mut self.buffer[self.end..]).await? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gateway has closed the connection")),
                len => self.end += len,
            }
        }
    }

    /// The next line, if it was read already.
    fn buffered(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        let unread = &self.buffer[self.start..self.end];
        let Some(len) = unread.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line = std::str::from_utf8(&unread[..len]).map_err(|_| io::ErrorKind::InvalidData)?;
        let line = Zeroizing::new(line.to_owned());
        self.start += len + 1;
        Ok(Some(line))
    }
}
