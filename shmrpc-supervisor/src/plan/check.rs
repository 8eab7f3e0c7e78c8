//! What `--check` prints: a plan in words.

use std::{fmt::Write, path::Path};

use super::{Plan, ServicePlan};

/// Says what would run.
#[must_use]
pub fn checked(file: &Path, plan: &Plan) -> String {
    let mut text = String::new();
    let file = file.display();
    for (line, note) in &plan.notes {
        let _infallible = writeln!(text, "{file}:{line}: note: {note}");
    }
    let count = plan.services.len();
    let services = if count == 1 { "service" } else { "services" };
    let _infallible = writeln!(text, "{file}: {count} {services}, no faults");
    let _infallible = writeln!(text, "dashboard  http://{}/", plan.web.address);
    for service in &plan.services {
        describe(service, &mut text);
    }
    text
}

fn describe(service: &ServicePlan, text: &mut String) {
    let settings = &service.settings;
    text.push('\n');
    let mut line = |label: &str, value: String| {
        let _infallible = writeln!(text, "  {label:<8} {value}");
    };
    let mut command = service.program.display().to_string();
    for arg in &service.args {
        let _infallible = write!(command, " {}", shlex::try_quote(arg).unwrap_or(arg.into()));
    }
    let count = service.description.as_ref().map(|description| description.methods.len());
    let pool = if service.max_workers == settings.min_proc_num {
        format!("{}", settings.min_proc_num)
    } else {
        format!("{} to {}", settings.min_proc_num, service.max_workers)
    };
    line("service", format!("{} [{}]", service.name, settings.section));
    line("program", command);
    if let Some(port) = service.port {
        line("port", port.to_string());
    }
    line("tcp", service.tcp_address().map_or("off".into(), |(ip, port)| format!("{ip}, port {port}")));
    if let Some(count) = count {
        line("methods", count.to_string());
        line("workers", format!("{pool}, {} threads each", settings.threads));
    } else {
        line("workers", pool);
    }
    if settings.force_insecure_serialisation {
        line("guarded", "bincode is allowed over TCP and REST".into());
    }
    line("logs", service.log_dir().display().to_string());
}
