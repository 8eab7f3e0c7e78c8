//! What the daemon costs when nothing happens.

use std::{fmt::Write, fs, thread::sleep, time::Duration};

use crate::probe;

const SERVICES: usize = 20;
const MEASURED: Duration = Duration::from_secs(60);

/// Clock ticks, of which there are a hundred a second, that a process has had of the processors.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `.ci/deep rest`: a figure of an optimised build; others are merely printed.
#[test]
#[ignore = "takes a minute and a half"]
fn twenty_services_at_rest_cost_next_to_nothing() {
    let mut more = String::new();
    for copy in 1..SERVICES {
        writeln!(more, "[Probe:copy{copy}]\nimport_from=probe\nport={}", 6000 + copy).unwrap();
    }
    let scene = probe::scene(&more);
    let mut daemon = scene.start(&[]);
    assert!(daemon.ready().contains("20 of 20 services run"));
    sleep(Duration::from_secs(20));
    let before = cpu_ticks(daemon.pid());
    sleep(MEASURED);
    let share = (cpu_ticks(daemon.pid()) - before) as f64 / 100.0 / MEASURED.as_secs_f64();
    let resident_mib = resident_kib(daemon.pid()) as f64 / 1024.0;
    println!("{SERVICES} services at rest: {:.2} % of a CPU, {resident_mib:.1} MiB resident", share * 100.0);
    daemon.stop();
    assert!(cfg!(debug_assertions) || (share < 0.005 && resident_mib < 40.0));
}
