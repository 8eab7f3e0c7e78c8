//! `shmrpc methods`: what a service says that it offers.

use std::io::Write;

use shmrpc_core::method::MethodDescription;

use super::{
    args::{MethodsArgs, Reach},
    failure::Failure,
    table, target,
};

/// Connects, and writes the description.
pub(super) fn run(args: &MethodsArgs, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    let service = target::connect(&args.endpoint, reach, None, false)?.service();
    if args.json {
        let text = serde_json::to_string_pretty(&*service).expect("a description is JSON");
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    let rows: Vec<[String; 6]> = service
        .methods
        .iter()
        .map(|method| {
            [
                table::plain(&method.name),
                method.encoding.to_string(),
                method.shape.name().into(),
                table::plain(&method.signature),
                flags(method),
                table::plain(&method.doc),
            ]
        })
        .collect();
    table::write(out, &["METHOD", "ENCODING", "SHAPE", "SIGNATURE", "FLAGS", "DESCRIPTION"], &rows)
        .map_err(Failure::output)
}

fn flags(method: &MethodDescription) -> String {
    let mut flags = Vec::new();
    if method.idempotent {
        flags.push("idempotent".to_owned());
    }
    if method.read_only {
        flags.push("read-only".to_owned());
    }
    if let Some(deadline_ms) = method.deadline_ms {
        flags.push(format!("deadline={deadline_ms}ms"));
    }
    flags.join(" ")
}
