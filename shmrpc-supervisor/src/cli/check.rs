//! `shmrpc check`: what an ini file would run, or all of its faults. A file that is named is read here, and no daemon asked.

use std::io::Write;

use serde_json::json;

use super::{
    args::CheckArgs,
    control::{self, Control},
    failure::{Exit, Failure},
};
use crate::plan::{Plan, checked};

pub(super) fn run(args: &CheckArgs, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(file) = &args.file else { return control::check(args.json, control, out) };
    let plan = Plan::load(file, &[]).map_err(|faults| {
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
        checked(file, &plan)
    };
    out.write_all(text.as_bytes()).map_err(Failure::output)
}
