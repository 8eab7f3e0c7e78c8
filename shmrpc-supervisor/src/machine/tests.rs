//! Tables of events with injected time: each step is (milliseconds, event, actions, status after it).

mod roll;

use std::time::{Duration, Instant};

use super::{Action, Event, Exit, Machine, Report, Rules, Status, WorkerId};
use crate::config::Policy;

type Step = (u64, Event, Vec<Action>, Status);

const fn w(number: u64) -> WorkerId {
    WorkerId(number)
}

fn exited(number: u64, code: i32) -> Event {
    Event::Exited(w(number), Exit::Code(code))
}

fn died(number: u64, delay_ms: u64) -> Action {
    Action::Report(Report::Died(w(number), Exit::Code(1), Duration::from_millis(delay_ms)))
}

fn ready(number: u64) -> Action {
    Action::Report(Report::Ready(w(number)))
}

fn ended(number: u64, code: i32) -> Action {
    Action::Report(Report::Ended(w(number), Exit::Code(code)))
}

fn rules(is_program: bool, slots: usize) -> Rules {
    let policy = Policy { restart_jitter: 0.0, ..Policy::default() };
    Rules { policy, is_program, min: slots, max: slots, cap: None, seed: 0 }
}

/// Workers that are replaced go before their successors come.
fn in_place(is_program: bool, slots: usize) -> Rules {
    let mut rules = rules(is_program, slots);
    rules.policy.surge = false;
    rules
}

fn report(report: Report) -> Action {
    Action::Report(report)
}

fn replacing(number: u64, count: usize, all: usize) -> Action {
    report(Report::Replacing(w(number), count, all))
}

fn play(is_program: bool, slots: usize, steps: Vec<Step>) -> Machine {
    play_by(rules(is_program, slots), steps)
}

fn play_by(rules: Rules, steps: Vec<Step>) -> Machine {
    let start = Instant::now();
    let mut machine = Machine::new(rules, 0);
    for (number, (at_ms, event, actions, status)) in steps.into_iter().enumerate() {
        let done = machine.handle(event.clone(), start + Duration::from_millis(at_ms));
        assert_eq!(done, actions, "actions of step {number}, {event:?}");
        assert_eq!(machine.status(), status, "status after step {number}, {event:?}");
    }
    machine
}

#[test]
fn a_worker_that_does_not_run_is_killed_and_replaced() {
    let silent = |number| Event::Silent(w(number), Duration::from_secs(10));
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, silent(1), vec![], Status::Starting),
            (5, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (
                9,
                silent(1),
                vec![Action::Report(Report::Silent(w(1), Duration::from_secs(10))), Action::Kill(w(1))],
                Status::Starting,
            ),
            (10, silent(1), vec![], Status::Starting),
            (11, exited(1, 1), vec![died(1, 100)], Status::Backoff),
            (111, Event::Tick, vec![Action::Spawn(w(2))], Status::Starting),
        ],
    );
}

#[test]
fn two_workers_start_serve_and_stop() {
    let machine = play(
        false,
        2,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1)), Action::Spawn(w(2))], Status::Starting),
            (0, Event::Start, vec![], Status::Starting),
            (5, Event::Ready(w(2)), vec![ready(2)], Status::Running),
            (6, Event::Ready(w(2)), vec![], Status::Running),
            (7, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (90_000, Event::Tick, vec![], Status::Running),
            (90_001, Event::Stop, vec![Action::Stop(w(1)), Action::Stop(w(2))], Status::Stopping),
            (90_002, exited(2, 0), vec![ended(2, 0)], Status::Stopping),
            (90_003, exited(1, 0), vec![ended(1, 0)], Status::Stopped),
            (90_004, exited(1, 0), vec![], Status::Stopped),
        ],
    );
    assert!(machine.is_empty() && machine.is_settled() && machine.deadline().is_none());
}

/// The row of the fault matrix: from 100 ms to 30 s, each delay twice the one before.
#[test]
fn crash_loop() {
    let start = Instant::now();
    let mut rules = rules(false, 1);
    rules.policy.start_limit = 1000;
    let mut machine = Machine::new(rules, 0);
    let mut now = start;
    let mut delays = Vec::new();
    let mut actions = machine.handle(Event::Start, now);
    for _ in 0..12 {
        let [Action::Spawn(worker)] = actions[..] else { panic!("{actions:?}") };
        now += Duration::from_millis(10);
        let [Action::Report(Report::Died(_, _, delay))] = machine.handle(exited(worker.0, 1), now)[..] else {
            panic!("it was not replaced")
        };
        assert!(machine.handle(Event::Tick, now + delay - Duration::from_millis(1)).is_empty());
        delays.push(u64::try_from(delay.as_millis()).unwrap());
        now += delay;
        actions = machine.handle(Event::Tick, now);
    }
    assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
}

#[test]
fn deaths_in_a_row_double_the_delay_until_it_gives_up() {
    let gave_up = Action::Report(Report::GaveUp(w(5), Exit::Code(1), 5));
    let machine = play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (10, exited(1, 1), vec![died(1, 100)], Status::Backoff),
            (109, Event::Tick, vec![], Status::Backoff),
            (110, Event::Tick, vec![Action::Spawn(w(2))], Status::Starting),
            (120, exited(2, 1), vec![died(2, 200)], Status::Backoff),
            (320, Event::Tick, vec![Action::Spawn(w(3))], Status::Starting),
            (330, exited(3, 1), vec![died(3, 400)], Status::Backoff),
            (730, Event::Tick, vec![Action::Spawn(w(4))], Status::Starting),
            (740, exited(4, 1), vec![died(4, 800)], Status::Backoff),
            (1540, Event::Tick, vec![Action::Spawn(w(5))], Status::Starting),
            (1550, exited(5, 1), vec![gave_up], Status::Fatal),
            (99_000, Event::Tick, vec![], Status::Fatal),
            (99_001, Event::Start, vec![Action::Spawn(w(6))], Status::Starting),
            (99_010, exited(6, 1), vec![died(6, 100)], Status::Backoff),
        ],
    );
    assert_eq!(machine.restarts(), 4);
}

#[test]
fn a_stable_run_is_forgiven() {
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (10, exited(1, 1), vec![died(1, 100)], Status::Backoff),
            (110, Event::Tick, vec![Action::Spawn(w(2))], Status::Starting),
            (120, Event::Ready(w(2)), vec![ready(2)], Status::Running),
            (60_120, exited(2, 1), vec![died(2, 100)], Status::Backoff),
        ],
    );
}

#[test]
fn who_is_not_ready_in_time_is_killed_and_has_failed() {
    let late = Action::Report(Report::NotReady(w(1), Duration::from_secs(30)));
    let killed = Event::Exited(w(1), Exit::Signal("SIGKILL".into()));
    let died = Report::Died(w(1), Exit::Signal("SIGKILL".into()), Duration::from_millis(100));
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (30_000, Event::Tick, vec![late, Action::Kill(w(1))], Status::Starting),
            (30_001, Event::Tick, vec![], Status::Starting),
            (30_002, killed, vec![Action::Report(died)], Status::Backoff),
        ],
    );
}

#[test]
fn who_does_not_stop_in_time_is_killed() {
    let late = Action::Report(Report::NotStopped(w(1), Duration::from_secs(10)));
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (2, Event::Stop, vec![Action::Stop(w(1))], Status::Stopping),
            (10_001, Event::Tick, vec![], Status::Stopping),
            (10_002, Event::Tick, vec![late, Action::Kill(w(1))], Status::Stopping),
            (10_003, exited(1, 9), vec![ended(1, 9)], Status::Stopped),
        ],
    );
}

#[test]
fn a_start_during_a_stop_waits_for_the_old_worker() {
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (2, Event::Stop, vec![Action::Stop(w(1))], Status::Stopping),
            (3, Event::Start, vec![], Status::Starting),
            (4, exited(1, 0), vec![ended(1, 0), Action::Spawn(w(2))], Status::Starting),
        ],
    );
}

#[test]
fn a_program_is_ready_when_it_has_run_and_may_end() {
    play(
        true,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (999, Event::Tick, vec![], Status::Starting),
            (1000, Event::Tick, vec![ready(1)], Status::Running),
            (2000, exited(1, 0), vec![ended(1, 0)], Status::Exited),
            (3000, Event::Start, vec![Action::Spawn(w(2))], Status::Starting),
            (3001, exited(2, 1), vec![died(2, 100)], Status::Backoff),
            (3002, Event::Stop, vec![], Status::Stopped),
        ],
    );
}

#[test]
fn adopted_workers_take_the_slots_and_the_surplus_goes() {
    let machine = play(
        false,
        1,
        vec![
            (0, Event::Adopted(w(7)), vec![], Status::Stopping),
            (1, Event::Start, vec![], Status::Running),
            (2, Event::Adopted(w(8)), vec![Action::Stop(w(8))], Status::Running),
            (3, exited(8, 0), vec![ended(8, 0)], Status::Running),
            (4, Event::Exited(w(7), Exit::Code(1)), vec![died(7, 100)], Status::Backoff),
        ],
    );
    assert!(machine.is_empty());
}

#[test]
fn a_pool_grows_and_shrinks() {
    play(
        false,
        1,
        vec![
            (0, Event::Start, vec![Action::Spawn(w(1))], Status::Starting),
            (1, Event::Ready(w(1)), vec![ready(1)], Status::Running),
            (2, Event::Resize(2), vec![Action::Spawn(w(2))], Status::Running),
            (3, Event::Resize(1), vec![Action::Stop(w(2))], Status::Running),
            (4, exited(2, 0), vec![ended(2, 0)], Status::Running),
            (5, Event::Kill, vec![Action::Kill(w(1))], Status::Stopping),
            (6, exited(1, 9), vec![ended(1, 9)], Status::Stopped),
        ],
    );
}
