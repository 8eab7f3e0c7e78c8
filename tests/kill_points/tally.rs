//! What came of each window: how often it was killed, and how long the survivors were held up.

use std::time::Duration;

use crate::windows::Window;

#[derive(Default)]
pub(crate) struct Tally {
    lines: Vec<Line>,
}

struct Line {
    window: &'static Window,
    held_up: Vec<Duration>,
    died: u64,
    right: u64,
}

impl Tally {
    /// Notes one kill: how long until everybody had got on, calls that died with the victim, and calls that were
    /// answered rightly meanwhile.
    pub(crate) fn note(&mut self, window: &'static Window, held_up: Duration, died: u64, right: u64) {
        let line = match self.lines.iter_mut().position(|line| std::ptr::eq(line.window, window)) {
            Some(at) => &mut self.lines[at],
            None => {
                self.lines.push(Line { window, held_up: Vec::new(), died: 0, right: 0 });
                self.lines.last_mut().expect("just added")
            }
        };
        line.held_up.push(held_up);
        line.died += died;
        line.right += right;
    }

    /// A table on the standard output, which the harness shows when it is asked to.
    pub(crate) fn print(mut self, of: &str) {
        println!("windows of {of} | part | kills | lost calls | right calls | held up p50 | max");
        let mut kills = 0;
        for line in &mut self.lines {
            line.held_up.sort_unstable();
            kills += line.held_up.len();
            println!(
                "{} | {:?} | {} | {} | {} | {:.1?} | {:.1?}",
                line.window.name,
                line.window.part,
                line.held_up.len(),
                line.died,
                line.right,
                line.held_up[line.held_up.len() / 2],
                line.held_up[line.held_up.len() - 1],
            );
        }
        println!("{} windows of {of}, {kills} kills, all recovered", self.lines.len());
    }
}
