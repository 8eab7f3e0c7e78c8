//! `shmrpc check FILE`: what an ini file would run, or all of its faults. Asks no daemon.

use std::io::Write;

use serde_json::json;

use super::{
    args::CheckArgs,
    failure::{Exit, Failure},
};
use crate::plan::{Plan, checked};

pub(super) fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = Plan::load(&args.file, &[]).map_err(|faults| {
        let count = faults.sorted().len();
        if args.json {
            let faults: Vec<_> = faults
                .sorted()
                .iter()
                .map(|fault| json!({ "line": fault.line, "fault": fault.to_string() }))
                .collect();
            let _told_below = writeln!(out, "{}", json!({ "faults": faults }));
            return Failure::new(Exit::Usage, format!("{count} faults"));
        }
        Failure::new(Exit::Usage, faults.to_string())
    })?;
    let text = if args.json {
        let services: Vec<_> = plan
            .services
            .iter()
            .map(|service| {
                json!({ "name": service.name, "section": service.settings.section, "port": service.port,
                    "program": service.program, "min_workers": service.settings.min_proc_num,
                    "max_workers": service.max_workers })
            })
            .collect();
        format!("{}\n", json!({ "services": services }))
    } else {
        checked(&args.file, &plan)
    };
    out.write_all(text.as_bytes()).map_err(Failure::output)
}
