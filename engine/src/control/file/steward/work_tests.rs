use std::sync::mpsc::channel;

use ringfort_worker::queues::Queues;

use super::*;
use crate::control::names::test;

/// Otherwise the report of the later reload is followed by that of the earlier one, and whoever waits for it does so
/// for ever.
#[test]
fn tasks_behind_names_keep_their_order() {
    let path = std::env::temp_dir().join(format!("ringfort-order-{}.conf", std::process::id()));
    std::fs::write(&path, "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n").unwrap();
    let file = ConfigFile::of_daemon(Some(&path), "wg0").unwrap().unwrap();
    // Control has ended, so each reload is reported as failed.
    let ((tasks, to_do), (wishes, _)) = (channel(), channel());
    let queues = Arc::new(Queues::new(1).unwrap());
    let line = Line { runner: None, wishes, queues, ending: Arc::default() };
    let resolver = Resolver::start(Arc::new(test::nobody()), tasks.clone(), Arc::default()).unwrap();
    let report = Arc::new(Mutex::new(Report::default()));
    let told = (report.clone(), Arc::default(), Arc::default());
    let work = Work::new("wg0".to_owned(), file, line, resolver, told, None);
    let found = || Task::Resolved(Found::of_no_file());
    for task in [found(), Task::Reload(1), Task::Reload(2), found(), Task::End] {
        tasks.send(task).unwrap();
    }
    work.run(&to_do);
    let report = report.lock().unwrap();
    assert!(report.number == 2 && report.failure.is_some(), "{report:?}");
    std::fs::remove_file(path).unwrap();
}
