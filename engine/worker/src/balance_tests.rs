use super::*;

const NOW: Time = Time::from_secs(1_000);

fn load(ran: Share, others: Share) -> Load {
    Load { ran, others }
}

fn bucket(index: usize) -> Bucket {
    Bucket::all().nth(index).unwrap()
}

#[test]
fn what_a_worker_said_counts_for_a_while() {
    let balance = Balance::new(3);
    assert_eq!(balance.least(0, NOW), Some((1, 0)));
    balance.publish(1, 700, NOW);
    balance.publish(2, 400, NOW);
    assert_eq!((balance.load(1, NOW), balance.least(0, NOW)), (700, Some((2, 400))));
    let later = NOW + HEARD_FOR + TICK;
    assert_eq!((balance.load(1, later), balance.load(1, Time::ZERO)), (0, 700), "it sleeps; a clock went back");
    balance.note_sleep(1, false);
    assert_eq!(balance.load(1, later), WHOLE, "it does not get its core");
    assert_eq!(Balance::new(1).least(0, NOW), None);
}

#[test]
fn what_control_says_of_a_core_counts_as_well() {
    let balance = Balance::new(2);
    assert_eq!(balance.core(1, NOW), None);
    balance.publish(1, 200, NOW);
    balance.publish_core(1, 700, NOW);
    assert_eq!((balance.load(1, NOW), balance.core(1, NOW)), (700, Some(700)));
    balance.publish_core(1, 100, NOW);
    assert_eq!(balance.load(1, NOW), 200, "the worker's own account is finer");
    balance.publish_core(1, 5_000, NOW);
    assert_eq!(balance.load(1, NOW), WHOLE);
    assert_eq!(balance.core(1, NOW + HEARD_FOR + TICK), None);
}

/// Control sleeps as long as nobody has much to do.
#[test]
fn control_is_asked_once_until_it_has_looked() {
    let balance = Balance::new(2);
    assert!(!balance.ask(load(ASKS_FROM - 1, 900)) && !balance.is_asked());
    assert!(balance.ask(load(ASKS_FROM, 0)));
    assert!(!balance.ask(load(ASKS_FROM, 0)), "it is awake");
    assert!(balance.is_asked());
    balance.note_answer();
    assert!(!balance.is_asked() && balance.ask(load(WHOLE, 0)));
}

#[test]
fn nobody_who_can_be_told_goes_by_less() {
    let balance = Balance::new(2);
    let is_known = |now| balance.is_known(balance.core(0, now));
    assert!(is_known(NOW), "nobody will ever tell");
    balance.will_tell();
    assert!(!is_known(NOW));
    balance.publish_core(0, 0, NOW);
    assert!(is_known(NOW) && !is_known(NOW + HEARD_FOR + TICK));
}

#[test]
fn a_load_is_what_the_worker_and_others_did() {
    let [second, half, tenth] = [1_000, 500, 100].map(Duration::from_millis);
    let once = |ran, window, busy| Account::default().note(ran, window, busy);
    assert_eq!(once(half, second, None), load(500, 0));
    assert_eq!(once(half, second, Some(900)), load(500, 400));
    assert_eq!(once(half, second, Some(400)), load(500, 0), "the account of cores is coarse");
    assert_eq!(once(second, Duration::ZERO, Some(WHOLE)), load(WHOLE, 0));
    let mut account = Account::default();
    assert_eq!(account.note(half, second, Some(900)), load(500, 400));
    for _ in 1..Account::LOOKS {
        assert_eq!(account.note(tenth, second, Some(900)), load(100, 400), "that was the worker, a moment ago");
    }
    assert_eq!(account.note(tenth, second, Some(900)), load(100, 800));
}

#[test]
fn a_full_worker_gives_away_what_makes_both_less_full() {
    let balance = Balance::new(2);
    let goes = |share, load, there| balance.should_go(bucket(3), share, load, 1, there, NOW);
    assert!(goes(300, load(1_000, 0), 300));
    assert!(!goes(300, load(800, 0), 0), "it is not full");
    assert!(!goes(300, load(1_000, 0), 700), "the other would be as full");
    assert!(!goes(1_000, load(1_000, 0), 0), "all that there is would be elsewhere");
    assert!(!goes(BUCKET_MIN - 1, load(1_000, 0), 0), "it is not worth it");
    assert!(goes(500, load(500, 500), 100), "somebody else has the core");
}

#[test]
fn it_goes_back_only_if_others_have_more_of_the_core_there() {
    let balance = Balance::new(3);
    balance.note_move(bucket(3), (0, load(500, 400)), (1, 500), NOW);
    assert_eq!(balance.load(1, NOW), 500, "so much is on its way there");
    assert!(balance.is_held(bucket(3), NOW) && !balance.is_held(bucket(4), NOW));
    let goes = |load, to, now| balance.should_go(bucket(3), 500, load, to, 0, now);
    assert!(!goes(load(400, 600), 2, NOW), "it was just moved");
    let later = NOW + HOLD;
    assert!(!goes(load(600, 400), 0, later) && goes(load(500, 500), 0, later));
    assert!(goes(load(600, 400), 2, later), "nobody knows how it is there");
    assert!(goes(load(600, 400), 0, later + FORGOTTEN_AFTER));
}

#[test]
fn who_is_moved_again_and_again_stays_longer_each_time() {
    let balance = Balance::new(2);
    let mut now = NOW;
    for seconds in [1, 2, 4, 8, 16, 32, 32] {
        balance.note_move(bucket(9), (0, load(500, 500)), (1, 500), now);
        let end = now + Duration::from_secs(seconds);
        assert!(balance.is_held(bucket(9), Time(end.as_nanos() - 1_000_000)), "{seconds}");
        assert!(!balance.is_held(bucket(9), end), "{seconds}");
        now = end;
    }
    balance.note_move(bucket(9), (0, load(500, 500)), (1, 500), now + FORGOTTEN_AFTER);
    assert!(!balance.is_held(bucket(9), now + FORGOTTEN_AFTER + HOLD), "the former moves are forgotten");
}

#[test]
fn a_move_is_kept_whole() {
    for (times, from, others) in [(0, 0, 0), (8, 254, WHOLE), (3, 7, 512)] {
        let this = Move { until: Time::from_secs(1 << 31), times, from, others };
        assert_eq!(Move::unpacked(this.packed()), this);
    }
}

#[test]
fn new_flows_go_where_room_is() {
    let balance = Balance::new(2);
    let count = |balance: &Balance| {
        let spread = Spread::new(balance, NOW);
        Bucket::all().filter(|&bucket| spread.place(bucket) == 1).count()
    };
    assert_eq!(count(&balance), Bucket::COUNT / 2);
    balance.publish(0, 240, NOW);
    let even = Spread::new(&balance, NOW);
    assert!(Bucket::all().all(|bucket| even.place(bucket) == bucket.index() % 2), "as at the beginning");
    balance.publish(0, 1_000, NOW);
    let with_room = count(&balance);
    assert!((900..Bucket::COUNT).contains(&with_room), "{with_room}");
    balance.publish(1, 1_000, NOW);
    assert_eq!(count(&balance), Bucket::COUNT / 2, "nobody has room");
}

/// A worker that is asked twice may have said something else in between.
#[test]
fn loads_that_change_meanwhile_harm_nobody() {
    let (balance, stop) = (Balance::new(64), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..).take_while(|_| !stop.load(Relaxed)) {
                balance.publish(n % 64, if n % 3 == 0 { WHOLE } else { 0 }, NOW);
            }
        });
        for _ in 0..2_000 {
            let spread = Spread::new(&balance, NOW);
            assert!(Bucket::all().all(|bucket| spread.place(bucket) < 64));
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn each_of_many_workers_has_its_part() {
    for workers in [2, 3, 64, 255] {
        let balance = Balance::new(workers);
        (0..workers / 2).for_each(|worker| balance.publish(worker, 900, NOW));
        let spread = Spread::new(&balance, NOW);
        let mut count = vec![0; workers];
        Bucket::all().for_each(|bucket| count[spread.place(bucket)] += 1);
        let busy: usize = count[..workers / 2].iter().sum();
        assert!(busy < Bucket::COUNT / 4, "{workers}: {count:?}");
    }
}

#[test]
fn the_time_of_this_thread_is_counted() {
    let (mut account, window) = (Account::default(), Duration::from_secs(1));
    assert_eq!(account.take(window, None), None, "the first time says nothing");
    let began = std::time::Instant::now();
    while account.take(Duration::from_millis(1), None).expect("asked before").ran == 0 {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
