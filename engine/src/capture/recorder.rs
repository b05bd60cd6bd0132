//! The thread that writes what the taps see to whoever asked for it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ring_buffers::{JUMBO_SIZE, RingError, left_out_of_dumps};
use ringfort_path::Order;
use ringfort_path::tap::{Direction, Filter, Seen, Side, TapReader, outer_header, tap};
use ringfort_worker::clock::boot_time;
use ringfort_worker::queues::Queues;

use super::end::End;
use super::names::Names;
use super::pcapng::{self, Packet, Statistics};
use super::{Request, SIDES, Shared};
use crate::version::VERSION;

/// Bytes that are put together before they are written.
const CHUNK_LEN: usize = 256 << 10;
/// For the workers to give their taps back, once they were told.
const TAPS_PATIENCE: Duration = Duration::from_secs(1);
const TAPS_INTERVAL: Duration = Duration::from_millis(1);
/// For the client to read the rest, once the capture has ended.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// From when a recorder is told to end until it has: longer than all that it waits for.
pub const LAST_WORK: Duration = TAPS_PATIENCE.saturating_add(LAST_WRITES).saturating_add(Duration::from_secs(1));
/// Bytes at the end of the file that are no packets.
const SUMS_LEN: u64 = (SIDES.len() * pcapng::STATISTICS_LEN) as u64;
/// What precedes the file: control's answer to the request.
const ACCEPTED: &[u8] = b"capture=1\nerrno=0\n\n";

/// What is captured, and for whom.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The interface.
    pub interface: String,
    /// Of each worker.
    pub filter: Filter,
    /// Who asked, for the log.
    pub client: String,
}

/// A capture that is under way.
pub struct Recorder {
    request: Request,
    subject: Subject,
    stream: UnixStream,
    queues: Arc<Queues>,
    shared: Arc<Shared>,
    /// One of each worker, and control's.
    readers: Vec<TapReader>,
    names: Names,
    /// What the wall clock shows less what the clock of [`Seen::time`] does.
    wall: Duration,
    started: Duration,
    deadline: Option<Instant>,
    /// What must be written, and how much of it was.
    out: Vec<u8>,
    flushed: usize,
    /// Bytes of the file.
    bytes: u64,
    written: [u64; Side::COUNT],
    kept: Vec<u8>,
    comment: String,
}

impl Recorder {
    /// For a client that reads from `stream`, which does not block.
    #[must_use]
    pub fn new(
        request: Request,
        subject: Subject,
        stream: UnixStream,
        queues: Arc<Queues>,
        shared: Arc<Shared>,
    ) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = started.saturating_sub(Duration::from_nanos(boot_time().as_nanos()));
        Self {
            deadline: request.time().map(|time| Instant::now() + time),
            request,
            subject,
            stream,
            readers: Vec::new(),
            names: Names::new(shared.clone(), queues.clone()),
            queues,
            shared,
            wall,
            started,
            out: Vec::new(),
            flushed: 0,
            bytes: 0,
            written: [0; Side::COUNT],
            kept: Vec::new(),
            comment: String::new(),
        }
    }

    /// Captures until the end. To be called on a thread of its own.
    pub fn run(mut self) {
        let end = match self.begin() {
            Ok(()) => self.record(),
            Err(error) => {
                log::error!("the capture for {} is not begun: {error}", self.subject.client);
                End::ClientGone
            }
        };
        self.take_taps_back();
        if end != End::ClientGone {
            self.finish(end);
        }
        self.log(end);
        self.shared.note_end();
        self.queues.control.wake();
    }

    /// Writes the head of the file, and gives everybody a tap.
    fn begin(&mut self) -> Result<(), RingError> {
        // Packets are in these, so they must not grow: beyond a chunk there is one packet, with its comment.
        self.out = left_out_of_dumps(3 * CHUNK_LEN)?;
        self.kept = left_out_of_dumps(JUMBO_SIZE)?;
        self.out.extend_from_slice(ACCEPTED);
        let begin = self.out.len();
        let Subject { interface, filter, .. } = &self.subject;
        let comment = format!(
            "{interface}: {}. Sockets do not show the IP and UDP headers of datagrams: here they are made from \
             addresses, ports and ECN. Times are those of turns of a worker, which may deal with many packets.",
            self.request.describe()
        );
        pcapng::section(&mut self.out, &format!("ringfort {VERSION}"), &comment);
        let snap_len = self.request.snap_len;
        pcapng::interface(&mut self.out, &format!("{interface} (plaintext)"), "IP packets in the tunnel", snap_len);
        let description = "WireGuard's datagrams on the wire, with headers made anew";
        pcapng::interface(&mut self.out, &format!("{interface} (ciphertext)"), description, snap_len);
        self.bytes = (self.out.len() - begin) as u64;
        let filter = Arc::new(filter.clone());
        for worker in &self.queues.workers {
            let (tap, reader) = tap(filter.clone(), self.request.queue as usize, self.shared.wake_up())?;
            worker.push_order(Order::Tap(Some(tap)));
            self.readers.push(reader);
        }
        if filter.sides[Side::Cipher as usize] {
            let (tap, reader) = tap(filter, 0, self.shared.wake_up())?;
            self.shared.give_tap(tap);
            self.queues.control.wake();
            self.readers.push(reader);
        }
        Ok(())
    }

    fn record(&mut self) -> End {
        loop {
            if self.unwritten() < CHUNK_LEN {
                self.shared.heard();
            } else {
                // As long as the client does not read, workers need not ring.
                self.shared.heard_control();
            }
            let end = self.collect();
            match self.flush() {
                Ok(()) => {}
                Err(_) => return End::ClientGone,
            }
            if let Some(end) = end {
                return end;
            }
            if self.shared.is_stopped() || self.is_abandoned() {
                return End::Gateway;
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return End::Time;
            }
            if self.unwritten() < CHUNK_LEN {
                // Whoever waited for a name, or for the client, has taken a ring for the taps as well.
                self.shared.listen();
            }
            // With room and more to read there is nothing to wait for, but the client is looked at.
            let may_sleep = self.unwritten() >= CHUNK_LEN || !self.has_more();
            if let Some(end) = self.wait(may_sleep) {
                return end;
            }
        }
    }

    /// Adds packets in the order of their times, as far as there is room.
    fn collect(&mut self) -> Option<End> {
        while self.unwritten() < CHUNK_LEN {
            if self.request.count > 0 && self.written.iter().sum::<u64>() >= self.request.count {
                return Some(End::Count);
            }
            let place = self.next_reader()?;
            let mut kept = std::mem::take(&mut self.kept);
            let Some(seen) = self.readers[place].next(&mut kept) else {
                // Its worker has written half of it, and may need this core for the rest.
                self.kept = kept;
                std::thread::yield_now();
                return None;
            };
            let before = self.out.len();
            self.add(place, &seen, &kept);
            let len = (self.out.len() - before) as u64;
            if self.request.bytes > 0 && self.bytes + len + SUMS_LEN > self.request.bytes {
                self.out.truncate(before);
                self.kept = kept;
                return Some(End::Bytes);
            }
            self.bytes += len;
            self.written[seen.side as usize] += 1;
            self.kept = kept;
        }
        None
    }

    /// Whose packet is the oldest.
    fn next_reader(&mut self) -> Option<usize> {
        let times =
            self.readers.iter_mut().enumerate().filter_map(|(place, reader)| Some((reader.next_time()?, place)));
        times.min().map(|(_, place)| place)
    }

    fn has_more(&mut self) -> bool {
        self.next_reader().is_some()
    }

    fn add(&mut self, place: usize, seen: &Seen, kept: &[u8]) {
        let label = self.names.label(seen.peer);
        self.comment.clear();
        let workers = self.queues.workers.len();
        // Writing to memory cannot fail.
        let _ = match place {
            worker if worker < workers => write!(self.comment, "{label}, worker {worker}"),
            _ => write!(self.comment, "{label}, control"),
        };
        if seen.is_accepted {
            self.comment.push_str(", accepted");
        }
        if let Some(reason) = seen.dropped {
            let _ = write!(self.comment, ", dropped: {reason}");
        }
        let (header, header_len) = self.outer(seen, kept);
        let header = &header[..header_len];
        let room = self.subject.filter.snap_len;
        let header_kept = &header[..header.len().min(room)];
        let parts = [header_kept, &kept[..kept.len().min(room - header_kept.len())]];
        pcapng::packet(
            &mut self.out,
            &Packet {
                interface: seen.side as u32,
                time: self.wall + Duration::from_nanos(seen.time.as_nanos()),
                len: header_len + seen.len,
                parts,
                direction: seen.direction,
                lost: seen.lost,
                comment: &self.comment,
            },
        );
    }

    /// The headers in front of a datagram; none for what was in the tunnel.
    fn outer(&self, seen: &Seen, kept: &[u8]) -> ([u8; 48], usize) {
        if seen.side == Side::Plain {
            return ([0; 48], 0);
        }
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let remote = seen.endpoint.map_or(nowhere, |endpoint| endpoint.remote);
        let unknown = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source: IpAddr = seen.endpoint.and_then(|endpoint| endpoint.source).map_or(unknown, |source| source.addr);
        let local = SocketAddr::new(source, self.shared.port());
        let (from, to) = if seen.direction == Direction::In { (remote, local) } else { (local, remote) };
        outer_header(from, to, seen.class, seen.len, kept)
    }

    fn unwritten(&self) -> usize {
        self.out.len() - self.flushed
    }

    /// Writes as much as the client takes at once.
    fn flush(&mut self) -> io::Result<()> {
        while self.unwritten() > 0 {
            match self.stream.write(&self.out[self.flushed..]) {
                Ok(len) => self.flushed += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.unwritten() == 0 || self.flushed > CHUNK_LEN {
            self.out.drain(..self.flushed);
            self.flushed = 0;
        }
        Ok(())
    }

    /// Waits for something to read, for the client to read, for its end, or for the time to be over.
    fn wait(&self, may_sleep: bool) -> Option<End> {
        let timeout = match self.deadline {
            _ if !may_sleep => PollTimeout::ZERO,
            None => PollTimeout::NONE,
            // Rounded up: the deadline has come when it wakes.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let flags = if self.unwritten() > 0 { PollFlags::POLLOUT } else { PollFlags::empty() };
        let stream = PollFd::new(self.stream.as_fd(), flags | PollFlags::POLLIN);
        let news = PollFd::new(self.shared.fd(), PollFlags::POLLIN);
        let mut fds = [stream, news];
        let _ = poll(&mut fds, timeout);
        let said = fds[0].revents().unwrap_or(PollFlags::empty());
        if said.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Some(End::ClientGone);
        }
        // It says nothing more but that it has enough.
        said.contains(PollFlags::POLLIN).then_some(End::Asked)
    }

    fn is_abandoned(&self) -> bool {
        // Control's own goes last, and says nothing.
        let workers = &self.readers[..self.queues.workers.len()];
        workers.iter().all(TapReader::is_abandoned)
    }

    /// Ends what the capture costs others, whatever its client does.
    fn take_taps_back(&self) {
        for worker in &self.queues.workers {
            worker.push_order(Order::Tap(None));
        }
        let deadline = Instant::now() + TAPS_PATIENCE;
        while !self.is_abandoned() && Instant::now() < deadline {
            std::thread::sleep(TAPS_INTERVAL);
        }
    }

    /// Writes what is left, and the sums.
    fn finish(&mut self, end: End) {
        let deadline = Instant::now() + LAST_WRITES;
        let stall = end.stall().unwrap_or(LAST_WRITES);
        let mut more = !matches!(end, End::Count | End::Bytes);
        loop {
            if more {
                more = self.collect().is_none() && self.has_more();
            }
            if !more {
                break;
            }
            if !self.flush_until(deadline, stall) {
                return;
            }
        }
        let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for side in SIDES {
            let counted = self.counted(side);
            pcapng::statistics(&mut self.out, side as u32, [self.started, ended], &counted);
        }
        while self.unwritten() > 0 && self.flush_until(deadline, stall) {}
    }

    /// Writes something, and waits until the client takes it. False: the client is gone or reads nothing, or the time
    /// is over.
    fn flush_until(&mut self, deadline: Instant, stall: Duration) -> bool {
        if self.flush().is_err() {
            return false;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if self.unwritten() > 0 {
            let timeout = PollTimeout::try_from(left.min(stall)).unwrap_or(PollTimeout::ZERO);
            // An interrupted one has waited for less.
            if poll(&mut [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)], timeout) == Ok(0) {
                return false;
            }
        }
        !left.is_zero()
    }

    fn counted(&self, side: Side) -> Statistics {
        let sum = |of: fn(&TapReader, Side) -> u64| self.readers.iter().map(|reader| of(reader, side)).sum();
        let seen: u64 = sum(|reader, side| reader.counts().seen(side));
        let left_out: u64 = sum(|reader, side| reader.counts().left_out(side));
        let lost = sum(|reader, side| reader.counts().lost(side));
        Statistics { seen, lost, sampled: seen.saturating_sub(left_out), written: self.written[side as usize] }
    }

    fn log(&self, end: End) {
        let lost: u64 = SIDES.iter().map(|&side| self.counted(side).lost).sum();
        let [plain, cipher] = self.written;
        log::info!(
            "the capture for {} {end}: {plain} packets of plaintext, {cipher} of ciphertext, {lost} lost",
            self.subject.client
        );
    }
}
