//! What a failure says, and the status that it ends with.

use ringfort_worker::failure::WorkerError;

use super::*;

#[test]
fn an_exhausted_descriptor_limit_is_named() {
    let error = DaemonError::system("watch the network", io::Error::from_raw_os_error(libc::EMFILE));
    assert!(matches!(error, DaemonError::Descriptors(_)));
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    let error = DaemonError::system("watch the network", io::Error::from_raw_os_error(libc::EACCES));
    assert!(matches!(error, DaemonError::System { .. }));
    let source = || io::Error::from_raw_os_error(libc::EMFILE);
    let errors = [
        DaemonError::from(TunError::Step { step: "open a socket", source: source() }),
        DaemonError::from(StartError::Ring(RingError::Setup { step: "io_uring_setup", source: source() })),
        DaemonError::Bind(BindError::Descriptors { errno: nix::errno::Errno::EMFILE }),
    ];
    for error in errors {
        assert!(error.to_string().contains("ulimit -n"), "{error}");
        assert_eq!(error.fault(), Fault::System);
    }
}

#[test]
fn faults_decide_the_exit_status() {
    assert_eq!(DaemonError::Served("wg0".into()).exit_status(), 2);
    // A process that ends may have it.
    assert_eq!(DaemonError::from(TunError::InUse("wg0".into())).exit_status(), 1);
    assert_eq!(DaemonError::NoCapability.fault(), Fault::System);
    assert_eq!(DaemonError::Vanished("signal 9".into()).fault(), Fault::Bug);
    assert_eq!(DaemonError::NoCapability.exit_status(), 1);
    let gone = WorkerFailure { worker: 0, error: WorkerError::DeviceGone };
    assert_eq!(DaemonError::Worker(gone).fault(), Fault::System);
    let bug = WorkerFailure { worker: 0, error: WorkerError::Panicked };
    assert_eq!(DaemonError::Worker(bug).fault(), Fault::Bug);
    // Not zero: a service that is restarted when it fails is to come back.
    assert_eq!(DaemonError::InterfaceDeleted("wg0".into()).exit_status(), 1);
}
