//! A program that starts more and more others, which do the same once: half of them leave its process group, and nobody
//! waits for any of them.

use std::{env, os::unix::process::CommandExt, process::Command, thread::sleep, time::Duration};

const CHILDREN: usize = 20;

#[expect(clippy::zombie_processes, reason = "that is what is wrong with it")]
fn main() {
    let own = env::current_exe().expect("this program has a file");
    let is_child = env::args().nth(1).is_some();
    for number in 0..if is_child { 1 } else { CHILDREN } {
        let mut child = if is_child { Command::new("sleep") } else { Command::new(&own) };
        child.arg("1000");
        if number % 2 == 0 {
            child.process_group(0);
        }
        let _unwaited = child.spawn().expect("a process can be started");
    }
    println!("{CHILDREN} started");
    loop {
        sleep(Duration::from_secs(1000));
    }
}
