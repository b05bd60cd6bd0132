//! System calls that no library wraps, the clock, and where a thread runs.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use core_affinity::CoreId;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use ringfort_testbed::{Context, Error, Result};

use crate::{Cpus, Placement};

/// The time in nanoseconds of `CLOCK_MONOTONIC`, which is one for all namespaces.
pub(crate) fn now_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in nanoseconds, the kernel's work on its behalf included.
pub(crate) fn thread_cpu_ns() -> u64 {
    read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read_clock(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("every Linux has this clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Sleeps until a time of [`now_ns`], or returns at once when it has passed.
pub(crate) fn sleep_until_ns(time_ns: u64) {
    let left = time_ns.saturating_sub(now_ns());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// The CPU of thread number `seat`; `None` is any.
///
/// # Errors
/// A CPU of the list is not one that this process may use.
pub(crate) fn cpu_of(cpus: &Cpus, seat: usize) -> Result<Option<CoreId>> {
    let allowed = core_affinity::get_core_ids().filter(|ids| !ids.is_empty());
    let allowed = allowed.ok_or_else(|| Error::new("the CPUs of this process cannot be listed"))?;
    match cpus {
        Cpus::Any => Ok(None),
        Cpus::Last => Ok(Some(allowed[allowed.len() - 1 - seat % allowed.len()])),
        Cpus::List(list) => {
            let wanted = list[seat % list.len()];
            let found = allowed.iter().copied().find(|id| id.id == wanted);
            found.map(Some).ok_or_else(|| Error::new(format!("CPU {wanted} is not one that this process may use")))
        }
    }
}

/// Puts the calling thread where `placement` wants thread number `seat`, and lets its timers be exact.
///
/// # Errors
/// There is no such CPU, or the kernel refuses.
pub(crate) fn take_seat(placement: &Placement, seat: usize) -> Result<()> {
    if let Some(cpu) = cpu_of(&placement.cpus, seat)?
        && !core_affinity::set_for_current(cpu)
    {
        return Err(Error::new(format!("this thread cannot be pinned to CPU {}", cpu.id)));
    }
    nix::sys::prctl::set_timerslack(1).context("making timers exact (PR_SET_TIMERSLACK)")?;
    if placement.realtime {
        run_first().context("running the generator first (SCHED_FIFO)")?;
    }
    Ok(())
}

fn run_first() -> io::Result<()> {
    // The kernel's `struct sched_param` is its priority. That of musl is longer, and its function always refuses.
    let lowest: libc::c_int = 1;
    // SAFETY: the parameters are a live integer that the kernel only reads; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const lowest) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Makes the kernel refuse (`EMSGSIZE`) what does not fit the MTU, instead of sending it in fragments.
pub(crate) fn forbid_fragments(socket: BorrowedFd<'_>, v4: bool) -> io::Result<()> {
    let (level, name, value) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    };
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is a live integer of the length that is given.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// As clocks count here; no more than fits.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Connects from an address of this host, within that time.
pub(crate) fn connect_from(from: IpAddr, target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A connect that waits does so no longer than a send (socket(7)).
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    setsockopt(&stream, sockopt::SendTimeout, &TimeVal::new(seconds, 0))?;
    bind(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(target)).map_err(|errno| match errno {
        Errno::EINPROGRESS => Errno::ETIMEDOUT,
        errno => errno,
    })?;
    setsockopt(&stream, sockopt::SendTimeout, &TimeVal::new(0, 0))?;
    Ok(TcpStream::from(stream))
}

/// How many segments a connection has sent again.
pub(crate) fn retransmits(stream: &TcpStream) -> io::Result<u64> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let place = info.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `len` bytes, which is what there is room for.
    let result =
        unsafe { libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut len) };
    Errno::result(result).map_err(io::Error::from)?;
    // SAFETY: the structure consists of integers, for which the zeroes that it began with are values too.
    let info = unsafe { info.assume_init() };
    Ok(u64::from(info.tcpi_total_retrans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_go_from_the_last_cpu_downwards_and_around() {
        let allowed = core_affinity::get_core_ids().unwrap();
        let last = allowed.len() - 1;
        assert_eq!(cpu_of(&Cpus::Last, 0).unwrap(), Some(allowed[last]));
        assert_eq!(cpu_of(&Cpus::Last, last).unwrap(), Some(allowed[0]));
        assert_eq!(cpu_of(&Cpus::Last, last + 1).unwrap(), Some(allowed[last]));
        assert_eq!(cpu_of(&Cpus::Any, 0).unwrap(), None);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = cpu_of(&Cpus::List(vec![0, 100_000]), 1).unwrap_err();
        assert!(error.to_string().contains("CPU 100000"), "{error}");
    }

    #[test]
    fn the_clock_goes_on_while_sleeping() {
        let start = now_ns();
        sleep_until_ns(start + 2_000_000);
        assert!(now_ns() >= start + 2_000_000);
        sleep_until_ns(start);
    }
}
