//! The program from its command line to its exit status.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use log::LevelFilter;
use ringfort_aead::Selection;
use ringfort_core::suite::Suite;
use ringfort_path::budget::budget;
use secret_memory::scrubbed;

use crate::cli::cpus::crowded;
use crate::cli::{AeadArg, Cli, Serve, SuiteArg};
use crate::commands::{self, print};
use crate::control::background::{Failure, Readiness, Role, daemonize};
use crate::control::error::DaemonError;
use crate::control::file::{ConfigFile, Scope, Target};
use crate::control::inherited::{Alone, Inherited};
use crate::control::logging::Log;
use crate::control::names::{self, Names};
use crate::control::preflight::Means;
use crate::control::runner::{self, Forked, Runner};
use crate::control::user::{UserError, become_user};
use crate::control::{Daemon, End, ask, logging, notices, offloads, places, preflight, secrecy};
pub use crate::last_words::exit;
use crate::last_words::fail;
use crate::version::VERSION;
use crate::{origin, panics, sandbox};

/// Runs the program.
#[must_use]
pub fn main(alone: Alone) -> ExitCode {
    if names::is_wanted() {
        return names::main(alone);
    }
    let Cli { command, serve: mut cli } = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    if let Some(command) = command {
        return commands::run(command, alone);
    }
    if cli.aead == Some(AeadArg::List) {
        return list_ciphers();
    }
    if cli.stats {
        return print(if cli.json { ask::stats_json(&cli.name) } else { ask::stats(&cli.name) });
    }
    if cli.suites {
        return print(ask::suites(&cli.name));
    }
    if let Some(SuiteArg(suite)) = cli.set_suite {
        return exit(ask::set_suite(&cli.name, cli.peer.as_ref(), suite));
    }
    origin::note(cli.take_over.then_some(cli.name.as_str()));
    if let Err(error) = secrecy::decide_core_dumps(cli.core_dumps) {
        return exit(Err(error));
    }
    let inherited = match inherited_by(&cli).and_then(|inherited| name_of(inherited, &mut cli)) {
        Ok(inherited) => inherited,
        Err(error) => return exit(Err(error)),
    };
    let file = match scrubbed(|| ConfigFile::of_daemon(cli.config.as_deref(), &cli.name)) {
        Ok(file) => file,
        Err(mistakes) => return exit(Err(mistakes.into())),
    };
    // SAFETY: the configuration was read, and its file is closed; nothing else was opened.
    unsafe { inherited.close_others() };
    serve(cli, file, inherited, alone)
}

/// `ringfort up`: a gateway that is all that its file says.
#[must_use]
pub fn up(mut cli: Serve, target: Target, alone: Alone) -> ExitCode {
    cli.name = target.interface;
    origin::note(cli.take_over.then_some(cli.name.as_str()));
    if let Err(error) = secrecy::decide_core_dumps(cli.core_dumps) {
        return exit(Err(error));
    }
    let file = match scrubbed(|| ConfigFile::of_gateway(&target.path)) {
        Ok(file) => file,
        Err(mistakes) => return exit(Err(mistakes.into())),
    };
    match inherited_by(&cli) {
        Ok(inherited) => {
            // SAFETY: as above.
            unsafe { inherited.close_others() };
            serve(cli, Some(file), inherited, alone)
        }
        Err(error) => exit(Err(error)),
    }
}

/// What was left open for us.
fn inherited_by(cli: &Serve) -> Result<Inherited, DaemonError> {
    let log = if let logging::Target::File(path) = &cli.log { Some(path) } else { None };
    // SAFETY: what was opened so far is closed again, and a process starts one gateway.
    unsafe { Inherited::take(cli.config.iter().chain(log).map(PathBuf::as_path)) }
}

fn serve(mut cli: Serve, file: Option<ConfigFile>, mut inherited: Inherited, alone: Alone) -> ExitCode {
    if let Some(file) = &file {
        cli.file = file.config().interface.start.clone();
        if let Some(user) = cli.user.as_ref().filter(|_| file.config().interface.save_config) {
            return exit(Err(UserError::Saves(user.clone()).into()));
        }
    }
    // The file was read before: a daemon has another working directory.
    let plan = match Plan::of(&cli, file) {
        Ok(plan) => plan,
        Err(error) => return exit(Err(error)),
    };
    inherited.named.clear();
    if cli.stays_in_foreground() {
        return with_runner(alone, plan, inherited, None, |plan, inherited, runner, _| {
            exit(run(&cli, plan, inherited, runner, None))
        });
    }
    match daemonize(alone) {
        Ok(Role::Parent(result)) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure { text, status }) => fail(&text, status),
        },
        Ok(Role::Child(readiness, alone)) => {
            secret_memory::lock_again();
            // The parent says what went wrong until we are ready, and the log after that.
            with_runner(alone, plan, inherited, Some(readiness), |plan, inherited, runner, readiness| {
                let result = run(&cli, plan, inherited, runner, readiness);
                ExitCode::from(result.err().map_or(0, |error| error.exit_status()))
            })
        }
        Err(error) => exit(Err(error)),
    }
}

/// Goes on in two processes if there is a file of `ringfort up`: the daemon, and one that runs commands for it.
fn with_runner(
    alone: Alone,
    plan: Plan,
    inherited: Inherited,
    readiness: Option<Readiness>,
    daemon: impl FnOnce(Plan, Inherited, Option<Runner>, Option<Readiness>) -> ExitCode,
) -> ExitCode {
    let Some(file) = plan.file.as_ref().filter(|file| file.is_gateway()) else {
        return daemon(plan, inherited, None, readiness);
    };
    let (path, hooks) = (file.path.clone(), file.config().interface.hooks.clone());
    match runner::fork(alone, readiness.is_some().then_some(plan.keeps_stderr)) {
        Ok(Forked::Daemon(runner)) => daemon(plan, inherited, Some(runner), readiness),
        Ok(Forked::Runner(process)) => {
            // It needs no keys, and must not keep anything open that the daemon closes.
            drop((plan, inherited, readiness));
            secret_memory::lock_again();
            process.serve(&path, hooks)
        }
        Err(error) => match readiness {
            Some(readiness) => {
                readiness.failed(&error);
                ExitCode::from(error.exit_status())
            }
            None => exit(Err(error)),
        },
    }
}

/// The name of an interface that was handed to us counts, as in wireguard-go: `wg` knows no other.
fn name_of(inherited: Inherited, cli: &mut Serve) -> Result<Inherited, DaemonError> {
    if let Some(queue) = &inherited.tun {
        cli.name = tun_uring::interface_of(queue)?;
    }
    Ok(inherited)
}

/// What is known before the daemon goes to the background.
struct Plan {
    file: Option<ConfigFile>,
    means: Means,
    log: Log,
    /// Whether the standard error stays what it is. A daemon keeps it only if somebody wants to read it: a pipe that it
    /// held open would keep a script waiting that collects the command's output.
    keeps_stderr: bool,
}

impl Plan {
    fn of(cli: &Serve, file: Option<ConfigFile>) -> Result<Self, DaemonError> {
        let means = preflight::check(cli)?;
        let leveled = cli.explicit_log_level().is_some_and(|level| level != LevelFilter::Off);
        let keeps_stderr = cli.stays_in_foreground() || cli.log.keeps_stderr(leveled);
        let log = cli.log.open(&cli.name, keeps_stderr)?;
        Ok(Self { file, means, log, keeps_stderr })
    }
}

/// Becomes who `--user` names. That undoes what was said of core dumps before: it becomes what fs.suid_dumpable says.
fn change_user(cli: &Serve) -> Result<(), DaemonError> {
    let Some(name) = &cli.user else { return Ok(()) };
    places::make_shared(&cli.name);
    become_user(name)?;
    secrecy::decide_core_dumps(cli.core_dumps)
}

/// Starts, reports and serves.
fn run(
    cli: &Serve,
    Plan { file, means, log, keeps_stderr }: Plan,
    inherited: Inherited,
    runner: Option<Runner>,
    mut readiness: Option<Readiness>,
) -> Result<(), DaemonError> {
    panics::end_process();
    // It becomes a user of its own, which only root can.
    let names = file.as_ref().map(|_| Names::start(cli.sandbox)).transpose();
    let names = names.map_err(|error| DaemonError::system("make a socket for who looks names up", error));
    let names = match names.and_then(|names| change_user(cli).map(|()| names)) {
        Ok(names) => names,
        Err(error) => {
            if let Some(readiness) = readiness {
                readiness.failed(&error);
            }
            return Err(error);
        }
    };
    let warnings = plan_sandbox(cli, file.as_ref(), &inherited);
    let notes = warnings.chain(file.as_ref().map(notes_of).unwrap_or_default()).collect::<Vec<_>>();
    let suites: BTreeSet<Suite> = file.iter().flat_map(|file| file.config().suites()).collect();
    let started = scrubbed(|| Daemon::start(cli, file, &means, inherited)).and_then(|daemon| {
        if !daemon.is_heir() {
            panics::remove_socket(daemon.socket_place().clone());
        }
        let logs = logging::install(log, cli.log_level(), cli.explicit_log_level().is_some());
        logs.map_err(|error| DaemonError::system("start a thread for the log", error))?;
        Ok(daemon)
    });
    let daemon = match started {
        Ok(daemon) => daemon,
        Err(error) => {
            if let Some(readiness) = readiness {
                readiness.failed(&error);
            }
            return Err(error);
        }
    };
    let (workers, cpus) = (daemon.workers(), means.cpus.len());
    if let Some(note) = crowded(&means.cpus[..workers.min(cpus)]) {
        log::warn!("{note}");
    }
    if workers > cpus {
        log::warn!(
            "{workers} workers go on, though {cpus} were asked for: what waits for a worker cannot be handed over to \
             another. The next start without a hand-over has {cpus}"
        );
    }
    report(&daemon);
    if !cli.node().is_single() {
        log::info!("this gateway is node {} of several: its receiver indices begin with that number", cli.node());
    }
    notes.iter().for_each(|(level, note)| log::log!(*level, "{note}"));
    suites.into_iter().for_each(notices::warn_of_slow_aes);
    offloads::report_segmentation(cli.segmentation());
    let result =
        daemon.run(runner, names, || readiness.take().map_or(Ok(()), |readiness| readiness.ready(keeps_stderr)));
    if let Some(readiness) = readiness {
        match &result {
            Err(error) => readiness.failed(error),
            Ok(End::Signal(signal)) => readiness.failed(&DaemonError::Interrupted(*signal)),
            Ok(End::SocketRemoved | End::HandedOver(_)) => readiness.failed(&DaemonError::Unfinished),
        }
    }
    log_end(&result);
    log::logger().flush();
    result.map(drop)
}

/// Decides what is given up once it serves. Returns what the operator should know of that, for the log.
fn plan_sandbox(
    cli: &Serve,
    file: Option<&ConfigFile>,
    inherited: &Inherited,
) -> impl Iterator<Item = (log::Level, String)> {
    let places = places::of(cli, file, inherited);
    sandbox::plan(cli.sandbox, &places);
    let warnings = if sandbox::fences_paths() { places::warnings(&places, file) } else { Vec::new() };
    warnings.into_iter().map(|warning| (log::Level::Warn, warning))
}

/// Why it ends, for the log.
fn log_end(result: &Result<End, DaemonError>) {
    match result {
        Ok(End::Signal(signal)) => log::info!("ending on {signal}"),
        Ok(End::SocketRemoved) => log::warn!("ending, because the control socket was removed"),
        Ok(End::HandedOver(heir)) => log::info!("ending, as process {heir} serves"),
        Err(error) => log::error!("ending: {error}"),
    }
}

/// What the operator should know of the start.
fn report(daemon: &Daemon) {
    log::info!("ringfort {VERSION} serves the interface with {} workers", daemon.workers());
    if daemon.is_passive() {
        log::info!("this gateway is passive: nothing is sent or answered until ringfort promote");
    }
    if let Some(note) = daemon.taken_over() {
        log::log!(if note.has_one_queue { log::Level::Warn } else { log::Level::Info }, "{note}");
    }
    if let Some(loaded) = daemon.loaded() {
        log::log!(if loaded.is_bad() { log::Level::Warn } else { log::Level::Info }, "{loaded}");
    }
    for failure in &daemon.choice().failures {
        log::warn!("{failure}");
    }
    for failure in &daemon.x25519().failed {
        log::warn!("{failure}");
    }
    offloads::report(daemon.self_test());
    if let Some(what) = daemon.unguarded() {
        log::warn!("{what}");
    }
    if let Some(why) = daemon.unsteered() {
        log::warn!(
            "packets from the interface come to the worker that receives from their peer, not to all, since the kernel \
             refused the steering program: {why}"
        );
    }
    for address in daemon.metrics_addresses() {
        log::info!("metrics are served at http://{address}/metrics");
    }
    if let Some(why) = daemon.unshown() {
        log::warn!("there is no unix socket for metrics: {why}");
    }
    log::info!("packet memory of each worker: {}", budget());
    let memory = daemon.memory();
    log::log!(if memory.exceeds() { log::Level::Warn } else { log::Level::Info }, "{memory}");
    if let Some(note) = daemon.unlocked() {
        log::info!("{note}");
    }
    secrecy::note_unlocked();
    for suite in &daemon.choice().suites {
        log::info!("{}: {}", suite.suite, suite.summary());
    }
    log::info!("{}", daemon.x25519());
    for suite in &daemon.choice().suites {
        log::debug!("{suite}");
    }
}

/// What the operator should know of the file, for a log that is not open yet.
fn notes_of(file: &ConfigFile) -> Vec<(log::Level, String)> {
    let config = file.config();
    let (path, count) = (file.path.display(), config.peers.len());
    let suite = config.interface.cipher_suite.unwrap_or_default();
    let said = match file.scope_of(config) {
        Scope::Gateway => format!("{path} is set up: {count} peers, cipher suite of the interface {suite}"),
        Scope::Device => format!(
            "{path} is set up as far as wg(8) would: {count} peers, cipher suite of the interface {suite}. Addresses \
             and routes are somebody else's business, or that of ringfort up"
        ),
        Scope::Settings => format!("cipher suite of the interface {suite}, {count} peers with settings of their own"),
    };
    let warnings = file.loaded.warnings.iter().map(|warning| (log::Level::Warn, warning.to_string()));
    warnings.chain([(log::Level::Info, said)]).collect()
}

/// Tests and measures every cipher, and prints what came of it.
fn list_ciphers() -> ExitCode {
    match Selection::Auto.resolve() {
        Ok(choice) => print(Ok(format!("{choice}\n"))),
        Err(error) => exit(Err(error.into())),
    }
}
