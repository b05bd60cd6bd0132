//! What a daemon gives up once everything is made: a hole in it should gain its finder little.
//!
//! ```text
//!   plan(mode, places)      before the first thread: filters are compiled, directories opened
//!        │
//!        ├─► enter(Worker)  no capability     its ring, its memory             ─┐ each thread, when it has
//!        ├─► enter(Files)   no capability     the log, the file of endpoints    ├ what it needs, and before
//!        ├─► enter(Metrics) no capability     its connections                   │ it listens to anybody
//!        ├─► enter(Capture) no capability     the connection that it is given   │
//!        └─► enter(Control) four of them      sockets, netlink, its directories ┘
//! ```
//!
//! Control's threads come last, and what they start inherits theirs: the steward, the resolver's thread, the watchdog.
//!
//! Four layers. Each is the thread's own, and none can be taken off again:
//!
//! * `no_new_privs`: nothing that is executed gains a right. Nothing can be executed anyway.
//! * [capabilities]: a thread keeps those that it uses.
//! * [Landlock](files): paths below a few directories, and nothing else of the file system.
//! * [seccomp](filter): the system calls of its role. The rest fails with `EPERM`, and the kernel's log says so.
//!
//! Rings are restricted as well, by `ring-buffers`: io_uring passes by seccomp. All threads share their memory, so who
//! takes over one can have another work for him. What holds then is the union of all: that of control.
//!
//! Hooks and programs are run by another process ([`crate::control::runner`]), which none of this concerns. Names are
//! looked up by another one ([`crate::control::names`]), which has [layers of its own](names).

#[cfg(test)]
mod audit_tests;
mod calls;
pub mod capabilities;
pub mod files;
pub mod filter;
pub mod names;
mod rule;
mod sockets;
#[cfg(test)]
mod tables_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::OnceLock;

use clap::ValueEnum;
use nix::sys::prctl::set_no_new_privs;

pub use calls::Role;
use capabilities::ForFiles;
use files::Fence;
pub use files::Places;
use filter::Filters;
use rule::Terms;

/// How much of it there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Nothing of it.
    Off,
    /// All system calls are carried out, and the kernel's log has those that would be refused.
    Report,
    /// All of it.
    #[default]
    On,
}

/// What was decided for this process.
struct Plan {
    mode: Mode,
    files: Fence,
    filters: Option<Filters>,
    for_files: ForFiles,
    /// Layers that are not to be had.
    gaps: Vec<SandboxError>,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Why a layer is not there.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter is too long, or a condition makes no sense. A bug.
    #[error("the filter of system calls cannot be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel takes none.
    #[error("the kernel takes no filter of system calls (seccomp): {0}")]
    NoFilter(io::Error),
    /// They cannot be read or set.
    #[error("capabilities cannot be given up: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The kernel has no such flag, or a filter of somebody else forbids it.
    #[error("no_new_privs cannot be set: {0}")]
    NoNewPrivileges(io::Error),
    /// The kernel knows Landlock, and does not take the rules.
    #[error("there are no rules for paths (Landlock): {0}")]
    Rules(#[from] landlock::RulesetError),
    /// It takes them, and refuses to apply them.
    #[error("paths cannot be fenced in (Landlock): {0}")]
    Landlock(io::Error),
}

/// Decides what threads give up when they [enter]. To be called once, before the first of them. Without a call nothing
/// is given up. A layer that is not to be had is left out, and the log says so: a gateway that runs is worth more than
/// one that does not.
pub fn plan(mode: Mode, places: &Places) {
    if mode != Mode::Off {
        // In tests somebody else may have come first, with the same.
        let _ = PLAN.set(Plan::new(mode, places));
    }
}

/// Whether threads that have [entered](enter) reach only the paths that were named.
#[must_use]
pub fn fences_paths() -> bool {
    PLAN.get().is_some_and(|plan| plan.files.is_there())
}

/// The calling thread gives up what a thread of this role does not need.
pub fn enter(role: Role) {
    let Some(plan) = PLAN.get() else { return };
    for error in plan.enter(role) {
        log::warn!("the sandbox has a gap: {error}");
    }
    if role == Role::Control {
        plan.tell();
    }
}

impl Plan {
    fn new(mode: Mode, places: &Places) -> Self {
        let mut gaps = Vec::new();
        let files = if mode == Mode::On { Fence::new(places) } else { Ok(Fence::none()) };
        let files = files.unwrap_or_else(|error| {
            gaps.push(error.into());
            Fence::none()
        });
        let terms = Terms { reports: mode == Mode::Report, is_fenced: files.is_there(), ..Terms::default() };
        let filters = Filters::new(&Role::OF_DAEMON, terms);
        let filters = filters.map_err(|error| gaps.push(error.into())).ok();
        Self { mode, files, filters, for_files: ForFiles::of(places), gaps }
    }

    fn enter(&self, role: Role) -> Vec<SandboxError> {
        let mut layers = vec![set_no_new_privs().map_err(|errno| SandboxError::NoNewPrivileges(errno.into()))];
        if self.mode == Mode::On {
            layers.push(capabilities::keep(role, self.for_files).map_err(SandboxError::from));
            layers.push(self.files.enter().map_err(SandboxError::Landlock));
        }
        // Last, since it forbids the calls that the others are made of.
        if let Some(filters) = &self.filters {
            layers.push(filters.install(role).map_err(SandboxError::NoFilter));
        }
        layers.into_iter().filter_map(Result::err).collect()
    }

    fn tell(&self) {
        for gap in &self.gaps {
            log::warn!("the sandbox has a gap: {gap}");
        }
        if self.mode == Mode::Report {
            log::info!(
                "the sandbox only reports: the kernel's log has a line (audit type=1326) for each system call that \
                 --sandbox on would refuse"
            );
        } else if !self.files.is_there() && self.gaps.is_empty() {
            log::info!("this kernel has no Landlock: the sandbox does without it, and paths are not fenced in");
        }
    }
}
