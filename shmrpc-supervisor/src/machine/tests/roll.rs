//! Replacing workers, and the size of the pool.

use super::{super::Scale, *};
use crate::config::Restart;

fn two_running() -> Vec<Step> {
    vec![
        (0, Event::Start, vec![Action::Spawn(w(1)), Action::Spawn(w(2))], Status::Starting),
        (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
        (2, Event::Ready(w(2)), vec![ready(2)], Status::Running),
    ]
}

fn resized(from: usize, to: usize, reason: &str) -> Action {
    report(Report::Resized { from, to, reason: reason.into() })
}

#[test]
fn a_restart_replaces_one_worker_after_the_other_with_successors_that_are_ready() {
    let mut steps = two_running();
    steps.extend([
        (3, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (4, Event::Tick, vec![], Status::Running),
        (5, Event::Ready(w(3)), vec![ready(3), Action::Stop(w(1))], Status::Running),
        (6, exited(1, 0), vec![ended(1, 0), replacing(2, 2, 2), Action::Spawn(w(4))], Status::Running),
        (7, Event::Ready(w(4)), vec![ready(4), Action::Stop(w(2))], Status::Running),
        (8, exited(2, 0), vec![ended(2, 0), report(Report::Rolled(2))], Status::Running),
    ]);
    let machine = play(false, 2, steps);
    assert_eq!(machine.size(), 2);
    assert!(!machine.is_rolling());
}

#[test]
fn a_successor_that_does_not_get_ready_stops_the_roll_and_the_old_ones_stay() {
    let mut steps = two_running();
    let exit = Exit::Code(1);
    steps.extend([
        (3, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (5, exited(3, 1), vec![report(Report::RollStopped(w(3), exit, 2))], Status::Running),
        (90_000, Event::Tick, vec![], Status::Running),
        (90_001, Event::Stop, vec![Action::Stop(w(1)), Action::Stop(w(2))], Status::Stopping),
    ]);
    assert_eq!(play(false, 2, steps).size(), 2);
    let mut steps = two_running();
    let killed = Exit::Signal("SIGKILL".into());
    let late = report(Report::NotReady(w(3), Duration::from_secs(30)));
    steps.extend([
        (3, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (30_003, Event::Tick, vec![late, Action::Kill(w(3))], Status::Running),
        (
            30_004,
            Event::Exited(w(3), killed.clone()),
            vec![report(Report::RollStopped(w(3), killed, 2))],
            Status::Running,
        ),
    ]);
    assert_eq!(play(false, 2, steps).size(), 2);
}

/// A worker is of use to its clients, whoever cannot watch it: it is not killed.
#[test]
fn a_successor_of_another_layout_is_told_to_go_and_stops_the_roll() {
    let (exit, gone) = (Exit::OtherLayout(9), Event::Exited(w(3), Exit::OtherLayout(9)));
    let mut steps = two_running();
    steps.extend([
        (3, Event::Estranged(w(1)), vec![], Status::Running),
        (4, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (5, Event::Estranged(w(3)), vec![Action::Stop(w(3))], Status::Running),
        (6, Event::Estranged(w(3)), vec![], Status::Running),
        (7, gone, vec![report(Report::RollStopped(w(3), exit.clone(), 2))], Status::Running),
    ]);
    assert_eq!(play(false, 2, steps).size(), 2);
    let again = report(Report::Died(w(1), exit.clone(), Duration::from_millis(100)));
    let machine = play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, Event::Estranged(w(1)), vec![Action::Stop(w(1))], Status::Starting),
            (2, Event::Exited(w(1), exit), vec![again], Status::Backoff),
        ],
    );
    let detail = machine.detail(Instant::now()).expect("a reason");
    assert!(detail.contains("layout version 9 and the daemon's"), "{detail}");
}

#[test]
fn an_old_worker_that_dies_meanwhile_leaves_its_place_to_its_successor() {
    let mut steps = two_running();
    steps.extend([
        (3, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (4, exited(1, 1), vec![ended(1, 1)], Status::Running),
        // From now on it is one of the pool, and is replaced itself if it fails.
        (5, exited(3, 1), vec![died(3, 100), replacing(2, 2, 2), Action::Spawn(w(4))], Status::Running),
    ]);
    assert_eq!(play(false, 2, steps).size(), 2);
}

#[test]
fn a_stop_during_a_roll_ends_the_successor_too() {
    let mut steps = two_running();
    let all = vec![Action::Stop(w(1)), Action::Stop(w(2)), Action::Stop(w(3))];
    steps.extend([
        (3, Event::Restart, vec![replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        (4, Event::Stop, all, Status::Stopping),
        (5, exited(3, 0), vec![ended(3, 0)], Status::Stopping),
        (6, exited(1, 0), vec![ended(1, 0)], Status::Stopping),
        (7, exited(2, 0), vec![ended(2, 0)], Status::Stopped),
        (8, Event::Start, vec![Action::Spawn(w(4)), Action::Spawn(w(5))], Status::Starting),
    ]);
    assert_eq!(play(false, 2, steps).size(), 2);
}

#[test]
fn a_second_restart_replaces_the_successor_of_the_first_too() {
    let first = vec![
        (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
        (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
        (2, Event::Restart, vec![replacing(1, 1, 1), Action::Spawn(w(2))], Status::Running),
        (3, Event::Restart, vec![], Status::Running),
        (4, Event::Ready(w(2)), vec![ready(2), Action::Stop(w(1))], Status::Running),
        (5, exited(1, 0), vec![ended(1, 0), replacing(2, 1, 2), Action::Spawn(w(3))], Status::Running),
        (6, Event::Ready(w(3)), vec![ready(3), Action::Stop(w(2))], Status::Running),
        (7, exited(2, 0), vec![ended(2, 0), report(Report::Rolled(1))], Status::Running),
    ];
    assert_eq!(play(false, 1, first).size(), 1);
}

#[test]
fn where_a_service_forbids_one_more_the_old_worker_goes_first() {
    let steps = || {
        let mut steps = two_running();
        steps.extend([
            (3, Event::Restart, vec![replacing(1, 1, 2), Action::Stop(w(1))], Status::Running),
            (4, exited(1, 0), vec![ended(1, 0), Action::Spawn(w(3))], Status::Running),
            (5, Event::Ready(w(3)), vec![ready(3), replacing(2, 2, 2), Action::Stop(w(2))], Status::Running),
            (6, exited(2, 0), vec![ended(2, 0), Action::Spawn(w(4))], Status::Running),
            (7, Event::Ready(w(4)), vec![ready(4), report(Report::Rolled(2))], Status::Running),
        ]);
        steps
    };
    play_by(in_place(false, 2), steps());
    play_by(Rules { cap: Some(2), ..rules(false, 2) }, steps());
}

#[test]
fn a_restart_also_replaces_who_was_being_started() {
    play(
        false,
        2,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1)), Action::Spawn(w(2))], Status::Starting),
            (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (2, Event::Restart, vec![], Status::Running),
            (3, Event::Ready(w(2)), vec![ready(2), replacing(1, 1, 2), Action::Spawn(w(3))], Status::Running),
        ],
    );
}

#[test]
fn a_restart_at_once_stops_all() {
    let mut steps = two_running();
    steps.extend([
        (3, Event::RestartAtOnce, vec![Action::Stop(w(1)), Action::Stop(w(2))], Status::Starting),
        (4, exited(2, 0), vec![ended(2, 0), Action::Spawn(w(3))], Status::Starting),
        (5, exited(1, 0), vec![ended(1, 0), Action::Spawn(w(4))], Status::Starting),
    ]);
    play(false, 2, steps);
}

#[test]
fn a_worker_that_has_done_enough_is_replaced_and_not_killed() {
    let enough = |number| Event::Replace(w(number), "1000 calls".into());
    let worn = |number| report(Report::Worn(w(number), "1000 calls".into()));
    let mut steps = two_running();
    steps.extend([
        (3, enough(2), vec![worn(2), replacing(2, 1, 1), Action::Spawn(w(3))], Status::Running),
        (4, enough(2), vec![], Status::Running),
        (4, enough(1), vec![worn(1)], Status::Running),
        (5, Event::Ready(w(3)), vec![ready(3), Action::Stop(w(2))], Status::Running),
        (6, exited(2, 0), vec![ended(2, 0), replacing(1, 2, 2), Action::Spawn(w(4))], Status::Running),
    ]);
    play(false, 2, steps);
}

#[test]
fn the_rule_is_obeyed_unless_somebody_has_fixed_the_size() {
    let advised = |count| Event::Advised(count, "busy".into());
    let mut wide = rules(false, 1);
    wide.max = 3;
    play_by(
        wide,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (2, advised(2), vec![resized(1, 2, "busy"), Action::Spawn(w(2))], Status::Running),
            (3, Event::Ready(w(2)), vec![ready(2)], Status::Running),
            (
                4,
                Event::Scale(Scale::To(4)),
                vec![resized(2, 4, "ordered"), Action::Spawn(w(3)), Action::Spawn(w(4))],
                Status::Running,
            ),
            (5, advised(1), vec![], Status::Running),
            (
                6,
                Event::Scale(Scale::Auto),
                vec![report(Report::Automatic), resized(4, 3, "the pool's bounds"), Action::Stop(w(4))],
                Status::Running,
            ),
            (7, exited(4, 0), vec![ended(4, 0)], Status::Running),
            (8, advised(2), vec![resized(3, 2, "busy"), Action::Stop(w(3))], Status::Running),
        ],
    );
}

#[test]
fn adopted_workers_stay_as_long_as_the_pool_may_be_that_large() {
    let mut wide = rules(false, 1);
    wide.max = 2;
    let machine = play_by(
        wide,
        vec![
            (0, Event::Adopted(w(7)), vec![], Status::Stopping),
            (1, Event::Adopted(w(8)), vec![], Status::Stopping),
            (2, Event::Start, vec![], Status::Running),
            (3, Event::Adopted(w(9)), vec![Action::Stop(w(9))], Status::Running),
        ],
    );
    assert_eq!(machine.size(), 2);
}

#[test]
fn who_comes_back_is_a_matter_of_policy() {
    for (restart, code, comes_back) in [
        (Restart::Standard, 0, true),
        (Restart::Always, 0, true),
        (Restart::OnFailure, 0, false),
        (Restart::OnFailure, 1, true),
        (Restart::Never, 1, false),
    ] {
        let mut rules = rules(false, 1);
        rules.policy.restart = restart;
        let start = Instant::now();
        let mut machine = Machine::new(rules, 0);
        machine.handle(Event::Start, start);
        machine.handle(Event::Ready(w(1)), start);
        machine.handle(exited(1, code), start);
        let expected = if comes_back { Status::Backoff } else { Status::Exited };
        assert_eq!(machine.status(), expected, "{restart:?} after {code}");
    }
}

#[test]
fn chance_makes_delays_longer_by_a_share_at_most() {
    let mut delays: Vec<Duration> = (0..100)
        .map(|seed| {
            let mut rules = rules(false, 1);
            (rules.seed, rules.policy.restart_jitter) = (seed, 0.5);
            let start = Instant::now();
            let mut machine = Machine::new(rules, 0);
            machine.handle(Event::Start, start);
            let [Action::Report(Report::Died(_, _, delay))] = machine.handle(exited(1, 1), start)[..] else {
                panic!("it was not replaced")
            };
            delay
        })
        .collect();
    delays.sort();
    assert!(delays[0] >= Duration::from_millis(100) && delays[99] <= Duration::from_millis(150));
    assert!(delays[99] - delays[0] > Duration::from_millis(40), "{delays:?}");
}
