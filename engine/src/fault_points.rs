//! Places where a test stops this process, to see what becomes of the others. Only a debug build has them.

/// Stops the process if the environment names this place (`RINGFORT_STOP_AT`).
pub fn fault_point(name: &str) {
    if cfg!(debug_assertions) && std::env::var_os("RINGFORT_STOP_AT").is_some_and(|at| at == name) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
    }
}
