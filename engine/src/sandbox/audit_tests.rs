//! What was refused is in the kernel's log, and with `--sandbox report` what would be.

use std::fs::{File, OpenOptions, read_dir, read_to_string};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::tests::inside;
use super::*;

/// The kernel writes ten such lines in 5 s. Other tests provoke many.
const PATIENCE: Duration = Duration::from_secs(90);
/// Until it is provoked again, in milliseconds.
const AGAIN_MS: u8 = 200;

/// What is written to the kernel's log from now on; or why no line of the audit system can be seen there.
fn kernel_log() -> Result<File, String> {
    let logged = read_to_string("/proc/sys/kernel/seccomp/actions_logged").map_err(|error| error.to_string())?;
    let has = |action: &str| logged.split_whitespace().any(|one| one == action);
    let is_auditd = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| read_to_string(entry.path().join("comm")).is_ok_and(|name| name == "auditd\n"))
    };
    if !has("errno") || !has("log") {
        return Err(format!("kernel.seccomp.actions_logged is {}", logged.trim()));
    }
    if !std::path::Path::new("/proc/self/loginuid").exists() {
        return Err("this kernel has no audit system".to_owned());
    }
    if read_to_string("/proc/cmdline").is_ok_and(|text| text.split_whitespace().any(|word| word.starts_with("audit=")))
    {
        return Err("the kernel's command line is about its audit system".to_owned());
    }
    if read_dir("/proc").map_err(|error| error.to_string())?.any(is_auditd) {
        return Err("auditd takes the lines".to_owned());
    }
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    if let Ok(log) = &mut log {
        log.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    }
    log.map_err(|error| format!("/dev/kmsg cannot be read: {error}"))
}

/// The lines that are there by now. Each read gives one.
fn lines(log: &mut File) -> Vec<String> {
    let (mut lines, mut record) = (Vec::new(), [0; 8192]);
    loop {
        match log.read(&mut record) {
            Ok(len) => lines.push(String::from_utf8_lossy(&record[..len]).into_owned()),
            // The kernel has overwritten lines that we were too slow for.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => return lines,
        }
    }
}

#[test]
fn the_kernels_log_names_the_call() {
    let mut log = match kernel_log() {
        Ok(log) => log,
        Err(why) => return eprintln!("left out: {why}"),
    };
    // A call that no worker makes, nor any other test.
    let call = libc::SYS_getppid;
    let verdicts = [(Mode::Report, libc::SECCOMP_RET_LOG), (Mode::On, libc::SECCOMP_RET_ERRNO)];
    for (mode, verdict) in verdicts {
        let of_it = [
            "type=1326".to_owned(),
            format!(" pid={} ", std::process::id()),
            format!(" syscall={call} "),
            format!(" code={verdict:#x}"),
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            // SAFETY: it has no arguments.
            let result = inside(mode, Role::Worker, &Places::default(), move || unsafe { libc::syscall(call) });
            assert_eq!(result >= 0, mode == Mode::Report, "{mode:?}");
            let _ = poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN)], AGAIN_MS);
            if lines(&mut log).iter().any(|line| of_it.iter().all(|part| line.contains(part))) {
                break;
            }
            assert!(Instant::now() < deadline, "no such line: {of_it:?}");
        }
    }
}
