//! Where the files of both machines are, and how what runs on them begins and ends.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringfort_testbed::command::copy_program;
use ringfort_testbed::daemon::Program;
use ringfort_testbed::janitor::{self, Job};
use ringfort_testbed::{Context, Result};

/// A directory that only root can write to, as keepalived wants it of scripts; it goes with this process.
#[derive(Debug)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    example: PathBuf,
    _removal: Job,
}

impl Place {
    /// Makes it, with the gateway and the example's script in it.
    ///
    /// # Errors
    /// The system's.
    pub fn new(example: &Path, program: &Program) -> Result<Self> {
        let path = Path::new("/run").join(format!("{}-pair", janitor::unique_name()));
        let removal = Job::removal(&path)?;
        fs::create_dir(&path).context(path.display())?;
        let binary = program.path.canonicalize().context(program.path.display())?;
        symlink(binary, path.join("ringfort")).context("naming the gateway")?;
        copy_program(&example.join("ringfort-pair"), &path.join("ringfort-pair"))?;
        Ok(Self { path, example: example.to_owned(), _removal: removal })
    }

    /// That of one machine.
    pub fn of_machine(&self, machine: usize) -> PathBuf {
        self.path.join(format!("machine{machine}"))
    }

    /// The example's script, as a machine calls it.
    pub fn script(&self, machine: usize) -> PathBuf {
        self.of_machine(machine).join("ringfort-pair")
    }

    /// A file of the example.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn example(&self, name: &str) -> Result<String> {
        let path = self.example.join(name);
        fs::read_to_string(&path).context(path.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A process of a machine, which ends with this.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it, with its output in a file.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let _permit = janitor::permit();
        let output = fs::File::create(log).context(log.display())?;
        let errors = output.try_clone().context(log.display())?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        command.spawn().map(Self).context(format_args!("starting {}", command.get_program().display()))
    }

    /// Ends it and waits for that.
    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
