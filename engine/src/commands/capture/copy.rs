//! From the gateway to the file, block by block: whatever ends it, the file has whole blocks only.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::signals::Signals;
use super::output::Output;
use crate::capture::{PACKET_BLOCK, SIDES, STATISTICS_BLOCK, Statistics, read_interface, read_statistics};
use crate::control::error::DaemonError;

/// Bytes that are read at once.
const READ_LEN: usize = 256 << 10;
/// No block is longer: a packet of 64 KiB and its comment.
const BLOCK_LEN_MAX: usize = 1 << 20;
/// For the gateway to send the rest, once it was told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Packets in the file, by side.
    packets: [u64; SIDES.len()],
    /// What the gateway has counted, by side, if it came to that.
    counted: [Option<Statistics>; SIDES.len()],
    /// Nobody reads the pipe any more.
    reader_gone: bool,
}

impl Summary {
    /// In words.
    pub fn text(&self) -> String {
        let [plain, cipher] = self.packets;
        let total = plain + cipher;
        let mut text = format!("{total} packets captured ({plain} of plaintext, {cipher} of ciphertext)");
        let [Some(plain), Some(cipher)] = self.counted else {
            let why = if self.reader_gone { "nobody reads any more" } else { "the gateway has ended it" };
            return format!("{text}; {why}, so what was lost is not known");
        };
        let sum = |of: fn(&Statistics) -> u64| of(&plain) + of(&cipher);
        let (left_out, lost) = (sum(|counted| counted.seen - counted.sampled), sum(|counted| counted.lost));
        let unread = sum(|counted| counted.sampled.saturating_sub(counted.lost)).saturating_sub(total);
        if left_out > 0 {
            text += &format!(", {left_out} left out by the sample");
        }
        if unread > 0 {
            text += &format!(", {unread} seen after the last one");
        }
        match lost {
            0 => text += ", none lost",
            lost => {
                text += &format!(
                    ", {lost} lost because they were not read in time: --sample, --snap-length, --peer or \
                                  --side make it less, --buffer makes more room"
                );
            }
        }
        text
    }
}

/// Copies until the gateway ends it, or a signal does.
///
/// # Errors
/// The file cannot be written, or what the gateway sends is no capture.
pub fn copy(stream: &UnixStream, output: &mut Output, signals: &Signals) -> Result<Summary, DaemonError> {
    let mut copy =
        Copy { stream, output, signals, buffer: Vec::new(), summary: Summary::default(), deadline: None, over: false };
    while !copy.over {
        copy.turn()?;
    }
    Ok(copy.summary)
}

struct Copy<'a> {
    stream: &'a UnixStream,
    output: &'a mut Output,
    signals: &'a Signals,
    /// What was read and is not written.
    buffer: Vec<u8>,
    summary: Summary,
    /// A signal came: when it ends at last.
    deadline: Option<Instant>,
    over: bool,
}

impl Copy<'_> {
    fn turn(&mut self) -> Result<(), DaemonError> {
        if !self.wait(PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)) {
            return Ok(());
        }
        let before = self.buffer.len();
        self.buffer.resize(before + READ_LEN, 0);
        let mut stream = self.stream;
        let read = stream.read(&mut self.buffer[before..]);
        let len = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(before + len);
        match read {
            Ok(0) => self.over = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            // A gateway that is gone has nothing more to say.
            Err(_) => self.over = true,
        }
        let whole = self.count_blocks()?;
        self.write(whole)
    }

    /// Waits for a descriptor. False: a signal came meanwhile, or nothing comes any more.
    fn wait(&mut self, fd: PollFd<'_>) -> bool {
        let timeout = self.deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [fd, PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, timeout);
        let is_ready = fds[0].any().unwrap_or(false);
        if ready == Ok(0) {
            self.over = true;
        }
        if self.signals.came() {
            // The second time, whoever sent it means it.
            self.over = self.deadline.is_some();
            self.deadline = Some(Instant::now() + PATIENCE);
            // The gateway sends the rest and its sums, and then it ends.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        is_ready && !self.over
    }

    /// Counts the packets in the blocks that are complete, and says how long these are.
    fn count_blocks(&mut self) -> Result<usize, DaemonError> {
        let mut at = 0;
        while let Some((kind, len)) = head(&self.buffer[at..]) {
            if !(12..=BLOCK_LEN_MAX).contains(&len) || len % 4 != 0 {
                return Err(DaemonError::Capture(
                    "what the gateway sends is no capture: it is of another version".into(),
                ));
            }
            let Some(body) = self.buffer.get(at + 8..at + len - 4).filter(|_| at + len <= self.buffer.len()) else {
                break;
            };
            let side = read_interface(body).unwrap_or(usize::MAX);
            if kind == PACKET_BLOCK
                && let Some(packets) = self.summary.packets.get_mut(side)
            {
                *packets += 1;
            }
            if kind == STATISTICS_BLOCK
                && let Some(counted) = self.summary.counted.get_mut(side)
            {
                *counted = read_statistics(body);
            }
            at += len;
        }
        Ok(at)
    }

    /// Writes the first bytes of the buffer.
    fn write(&mut self, len: usize) -> Result<(), DaemonError> {
        let mut written = 0;
        let buffer = std::mem::take(&mut self.buffer);
        let pipe = self.output.pipe().map_err(|error| DaemonError::system("write the capture", error))?;
        while written < len {
            if let Some(pipe) = &pipe
                && !self.wait(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT))
            {
                if self.over {
                    return Ok(());
                }
                continue;
            }
            match self.output.write(&buffer[written..len]) {
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    (self.over, self.summary.reader_gone) = (true, true);
                    return Ok(());
                }
                Err(error) => return Err(DaemonError::system("write the capture", error)),
            }
        }
        self.buffer = buffer;
        self.buffer.drain(..len);
        Ok(())
    }
}

/// Type and length of the block at the front.
fn head(bytes: &[u8]) -> Option<(u32, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((word(0)?, word(4)? as usize))
}
