//! The keys of an ini file: their names, their aliases and where they may stand. The table is the one
//! place that knows all of them; `docs/operations.md` lists the same, and a test compares the two.

use super::{
    diagnostic::{Diagnostic, Diagnostics},
    ini::Section,
};

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// In `[web monitor]` alone.
    Web,
    /// In a service's section alone.
    Service,
    /// In a service's section, or in `[defaults]` for all of them.
    ServiceOrDefaults,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Other spellings: the original's documents and code disagree about some.
    pub(super) aliases: &'static [&'static str],
    pub(super) scope: Scope,
}

/// The section of the dashboard.
pub(super) const WEB: &str = "web monitor";
/// The section whose values hold for every service that does not say otherwise.
pub(super) const DEFAULTS: &str = "defaults";

const fn key(name: &'static str, scope: Scope) -> Key {
    Key { name, aliases: &[], scope }
}

const fn aliased(name: &'static str, aliases: &'static [&'static str], scope: Scope) -> Key {
    Key { name, aliases, scope }
}

/// Every key.
pub(super) const KEYS: &[Key] = &[
    key("host", Scope::Web),
    key("port", Scope::Web),
    key("allow_users", Scope::Web),
    key("allow_hosts", Scope::Web),
    key("history_dir", Scope::Web),
    key("history_max_bytes", Scope::Web),
    key("import_from", Scope::Service),
    key("program", Scope::Service),
    key("port", Scope::Service),
    key("log_dir", Scope::ServiceOrDefaults),
    key("log_max_file_bytes", Scope::ServiceOrDefaults),
    key("log_max_file_age", Scope::ServiceOrDefaults),
    key("log_max_files", Scope::ServiceOrDefaults),
    key("log_compress", Scope::ServiceOrDefaults),
    aliased("tcp_bind", &["bind_tcp"], Scope::ServiceOrDefaults),
    key("tcp_secret_file", Scope::ServiceOrDefaults),
    key("tcp_tls_certificate_file", Scope::ServiceOrDefaults),
    key("tcp_tls_key_file", Scope::ServiceOrDefaults),
    key("tcp_tls_client_ca_file", Scope::ServiceOrDefaults),
    key("tcp_allow_remote", Scope::ServiceOrDefaults),
    key("tcp_max_connections", Scope::ServiceOrDefaults),
    key("tcp_max_in_flight", Scope::ServiceOrDefaults),
    key("tcp_max_message_bytes", Scope::ServiceOrDefaults),
    key("tcp_handshake_timeout", Scope::ServiceOrDefaults),
    key("tcp_frame_timeout", Scope::ServiceOrDefaults),
    key("tcp_idle_timeout", Scope::ServiceOrDefaults),
    key("max_proc_num", Scope::ServiceOrDefaults),
    key("min_proc_num", Scope::ServiceOrDefaults),
    key("wait_until_completed", Scope::ServiceOrDefaults),
    aliased(
        "force_insecure_serialisation",
        &["tcp_allow_insecure_serialisation", "force_insecure_serialization"],
        Scope::ServiceOrDefaults,
    ),
    key("threads", Scope::ServiceOrDefaults),
    key("env", Scope::ServiceOrDefaults),
    aliased("working_dir", &["directory"], Scope::ServiceOrDefaults),
    key("restart_delay", Scope::ServiceOrDefaults),
    key("restart_delay_max", Scope::ServiceOrDefaults),
    key("start_limit", Scope::ServiceOrDefaults),
    key("start_limit_interval", Scope::ServiceOrDefaults),
    key("start_timeout", Scope::ServiceOrDefaults),
    key("start_secs", Scope::ServiceOrDefaults),
    aliased("stop_timeout", &["drain_timeout"], Scope::ServiceOrDefaults),
    key("stop_signal", Scope::ServiceOrDefaults),
    key("orphan_timeout", Scope::ServiceOrDefaults),
    key("watchdog_timeout", Scope::ServiceOrDefaults),
    key("new_proc_cpu_pc", Scope::ServiceOrDefaults),
    key("new_proc_avg_over_secs", Scope::ServiceOrDefaults),
    key("kill_proc_avg_over_secs", Scope::ServiceOrDefaults),
    key("max_proc_mem_bytes", Scope::ServiceOrDefaults),
    key("autoscale", Scope::ServiceOrDefaults),
    key("max_queue_wait", Scope::ServiceOrDefaults),
    key("max_utilisation", Scope::ServiceOrDefaults),
    key("max_calls", Scope::ServiceOrDefaults),
    key("max_worker_mem_bytes", Scope::ServiceOrDefaults),
    key("restart", Scope::ServiceOrDefaults),
    key("restart_jitter", Scope::ServiceOrDefaults),
    key("surge", Scope::ServiceOrDefaults),
    key("after", Scope::Service),
    key("requires", Scope::Service),
    key("user", Scope::ServiceOrDefaults),
    key("group", Scope::ServiceOrDefaults),
    key("umask", Scope::ServiceOrDefaults),
    key("nice", Scope::ServiceOrDefaults),
    key("limit_nofile", Scope::ServiceOrDefaults),
    key("limit_as", Scope::ServiceOrDefaults),
    key("limit_core", Scope::ServiceOrDefaults),
    key("cgroup_memory_max", Scope::ServiceOrDefaults),
    key("cgroup_cpu_max", Scope::ServiceOrDefaults),
    key("cgroup_pids_max", Scope::ServiceOrDefaults),
    key("cgroup_required", Scope::ServiceOrDefaults),
    key("cgroup_root", Scope::ServiceOrDefaults),
];

/// Whether a key with that scope may stand in that section.
fn allowed(scope: Scope, section: &str) -> bool {
    match section {
        WEB => scope == Scope::Web,
        DEFAULTS => scope == Scope::ServiceOrDefaults,
        _ => scope != Scope::Web,
    }
}

/// The keys that may stand in that section.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| allowed(key.scope, section))
}

/// Replaces aliases by the names that they stand for, and finds unknown keys. Says in `notes` which
/// aliases were met.
pub(super) fn canonical(section: &mut Section, faults: &mut Diagnostics, notes: &mut Vec<(usize, String)>) {
    let mut first_lines: Vec<(&'static str, usize)> = Vec::new();
    let entries = std::mem::take(&mut section.entries);
    for mut entry in entries {
        let known =
            keys_of(&section.name).find(|k| k.name == entry.key || k.aliases.contains(&entry.key.as_str()));
        let Some(known) = known else {
            faults.push(unknown(&section.name, &entry.key, entry.line));
            continue;
        };
        if let Some((_, line)) = first_lines.iter().find(|(name, _)| *name == known.name) {
            let problem = format!("the same as {} at line {line}, which stands already", known.name);
            faults.push(Diagnostic::new(entry.line, problem).section(&section.name).key(&entry.key));
            continue;
        }
        if known.name != entry.key {
            notes.push((entry.line, format!("{} is read as {}", entry.key, known.name)));
            known.name.clone_into(&mut entry.key);
        }
        first_lines.push((known.name, entry.line));
        section.entries.push(entry);
    }
}

fn unknown(section: &str, key: &str, line: usize) -> Diagnostic {
    let names: Vec<&str> = keys_of(section).map(|key| key.name).collect();
    let problem = match KEYS.iter().find(|known| known.name == key || known.aliases.contains(&key)) {
        Some(Key { scope: Scope::Web, .. }) => "a key of [web monitor], unknown here",
        Some(_) if section == DEFAULTS => "must stand in the section of its service",
        Some(_) => "a key of services, unknown here",
        None => "unknown key",
    };
    Diagnostic::new(line, problem)
        .section(section)
        .key(key)
        .nearest(
            key,
            keys_of(section).flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied())),
        )
        .accepted(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_md_lists_every_key_and_alias() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        for key in KEYS {
            for name in std::iter::once(&key.name).chain(key.aliases) {
                assert!(manual.contains(&format!("`{name}`")), "docs/operations.md does not mention {name}");
            }
        }
    }
}
