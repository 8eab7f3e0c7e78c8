//! Typed settings → what is to run: programs found, their descriptions asked for, names, ports and
//! pools settled and checked against each other. Starts no worker; a plan that exists can be run.

mod check;
mod dependencies;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use shmrpc_core::{method::ServiceDescription, observe::LAYOUT_VERSION, schema::Schemas, server::Described};

pub use self::check::checked;
use crate::{
    config::{Diagnostic, Diagnostics, ServiceSettings, Settings, Source, WebSettings, folder_of, nearest},
    program::{DESCRIBE_TIMEOUT, Lookup, ProgramStamp, describe},
    sources,
};

/// What a whole ini file means on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The dashboard.
    pub web: WebSettings,
    /// The services in file order, those not asked for left out.
    pub services: Vec<ServicePlan>,
    /// What is worth knowing and no fault, with lines.
    pub notes: Vec<(usize, String)>,
}

/// One service, ready to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePlan {
    /// The name that logs, REST, the command line and the page use.
    pub name: String,
    /// The program that its workers run.
    pub program: PathBuf,
    /// The program's arguments.
    pub args: Vec<String>,
    /// The port; programs without one of ours have none.
    pub port: Option<u16>,
    /// The largest pool: the ini's bound, or the struct's own if that is smaller.
    pub max_workers: usize,
    /// Which file that is, so that another one of the same name is told from it.
    pub stamp: Option<ProgramStamp>,
    /// Services that it is started after, by their names.
    pub after: Vec<String>,
    /// Services that must run before it is started, by their names.
    pub requires: Vec<String>,
    /// What it offers; `None` for a `program`.
    pub description: Option<ServiceDescription>,
    /// What the types of its methods tell.
    pub schemas: Arc<Schemas>,
    /// What the ini says.
    pub settings: ServiceSettings,
}

impl ServicePlan {
    /// Where its workers accept TCP.
    #[must_use]
    pub fn tcp_address(&self) -> Option<(IpAddr, u16)> {
        let served = self.description.is_some();
        self.settings.tcp.bind.zip(self.port).filter(|_| served)
    }

    /// The folder of its logs.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.settings.log_dir.join(&self.name)
    }
}

impl Plan {
    /// Reads an ini file and finds out what it means. With `wanted`, only the services of those names
    /// (or sections) are kept; the rest of the file is still checked.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(file: &Path, wanted: &[String]) -> Result<Self, Diagnostics> {
        let mut faults = Diagnostics::new(file);
        let settings = Settings::load(file, &mut faults);
        Self::new(settings, &Lookup::new(folder_of(file)), wanted, faults)
    }

    /// Finds out what settings mean.
    ///
    /// # Errors
    /// All faults at once, added to those that are there already.
    pub fn new(
        settings: Settings,
        lookup: &Lookup,
        wanted: &[String],
        mut faults: Diagnostics,
    ) -> Result<Self, Diagnostics> {
        let mut asked = HashMap::new();
        let mut services: Vec<ServicePlan> = settings
            .services
            .into_iter()
            .filter_map(|service| match resolve(service, lookup, &mut asked) {
                Ok(plan) => Some(plan),
                Err(fault) => {
                    faults.push(*fault);
                    None
                }
            })
            .collect();
        clashes(&services, &mut faults);
        dependencies::resolve(&mut services, &mut faults);
        only(&mut services, wanted, &mut faults);
        let mut notes = settings.notes;
        notes.extend(services.iter().filter_map(remote_note));
        faults.into_result(Self { web: settings.web, services, notes })
    }
}

const PROGRAMS: &str = "a path, or the name of a program beside the ini file, in target/ there, or on PATH";

const SAME_LAYOUT: &str = "a worker program that was built with the same layout version; `shmrpc-service --replace` of \
     its release takes the place of a daemon that runs";

type Asked = HashMap<PathBuf, Result<Vec<Described>, String>>;

fn resolve(
    settings: ServiceSettings,
    lookup: &Lookup,
    asked: &mut Asked,
) -> Result<ServicePlan, Box<Diagnostic>> {
    let line = settings.source_line;
    let (key, word) = match &settings.source {
        Source::Import { import_from, .. } => ("import_from", import_from),
        Source::Program { words, .. } => ("program", &words[0]),
    };
    let fault = |problem: String| Diagnostic::new(line, problem).section(&settings.section).key(key);
    let given = settings.surroundings;
    if key == "import_from" && (given.user.is_some() || given.group.is_some()) {
        // Whoever calls it must be of its user, and so must the runtime folder.
        let fault = Diagnostic::new(settings.line, "workers run as the daemon's own user");
        let key = if given.user.is_some() { "user" } else { "group" };
        return Err(fault.section(&settings.section).key(key).accepted("with program alone").into());
    }
    let program = lookup.find(word).map_err(|error| fault(error.to_string()).accepted(PROGRAMS))?;
    if !settings.working_dir.is_dir() {
        let problem = format!("{} is not a folder", settings.working_dir.display());
        return Err(Diagnostic::new(settings.line, problem)
            .section(&settings.section)
            .key("working_dir")
            .into());
    }
    match &settings.source {
        Source::Program { name, words } => Ok(ServicePlan {
            name: name.clone(),
            stamp: ProgramStamp::of(&program),
            after: Vec::new(),
            requires: Vec::new(),
            program,
            args: words[1..].to_vec(),
            port: settings.port,
            max_workers: settings.max_proc_num,
            description: None,
            schemas: Arc::default(),
            settings,
        }),
        Source::Import { struct_name, prefix, .. } => {
            let offered = asked.entry(program.clone()).or_insert_with(|| {
                describe(&program, &settings.working_dir, DESCRIBE_TIMEOUT).map_err(|e| sources::told(&e))
            });
            let offered = offered.as_ref().map_err(|problem| fault(problem.clone()))?;
            let found = offered
                .iter()
                .find(|service| service.description.struct_name == *struct_name)
                .ok_or_else(|| {
                    let names: Vec<&str> =
                        offered.iter().map(|service| service.description.struct_name.as_str()).collect();
                    fault(format!("{} does not offer {struct_name}", program.display()))
                        .nearest(struct_name, names.iter().copied())
                        .accepted(if names.is_empty() {
                            "nothing: it offers no service".into()
                        } else {
                            names.join(", ")
                        })
                })?;
            if let Some(theirs) = found.layout_version.filter(|theirs| *theirs != LAYOUT_VERSION) {
                let program = program.display();
                let problem = format!(
                    "shared memory of {program} has layout version {theirs}, that of this program {LAYOUT_VERSION}"
                );
                return Err(fault(problem).accepted(SAME_LAYOUT).into());
            }
            let prefix = prefix.clone();
            served(found.clone(), prefix.as_deref(), program, settings)
        }
    }
}

fn served(
    described: Described,
    prefix: Option<&str>,
    program: PathBuf,
    settings: ServiceSettings,
) -> Result<ServicePlan, Box<Diagnostic>> {
    let Described { description, schemas, .. } = described;
    let cap = description.max_workers.map_or(usize::MAX, |cap| cap.max(1) as usize);
    if settings.min_proc_num > cap {
        let problem = format!(
            "min_proc_num {} exceeds the {cap} that {} allows itself",
            settings.min_proc_num, description.struct_name
        );
        return Err(Diagnostic::new(settings.min_proc_num_line, problem)
            .section(&settings.section)
            .key("min_proc_num")
            .accepted(format!("1 to {cap}"))
            .into());
    }
    let name = match prefix {
        Some(prefix) => format!("{prefix}.{}", description.name),
        None => description.name.clone(),
    };
    Ok(ServicePlan {
        name,
        stamp: ProgramStamp::of(&program),
        after: Vec::new(),
        requires: Vec::new(),
        program,
        args: Vec::new(),
        port: Some(settings.port.unwrap_or(description.port)),
        max_workers: settings.max_proc_num.min(cap),
        description: Some(description),
        schemas: Arc::new(schemas),
        settings,
    })
}

/// What somebody should see again who lets other machines in.
fn remote_note(service: &ServicePlan) -> Option<(usize, String)> {
    let (ip, port) = service.tcp_address().filter(|(ip, _)| !ip.is_loopback())?;
    let section = &service.settings.section;
    let note =
        format!("[{section}] lets other machines in at {ip}, port {port}, and nothing authenticates them");
    Some((service.settings.line, note))
}

/// Finds services that cannot live beside each other.
fn clashes(services: &[ServicePlan], faults: &mut Diagnostics) {
    for (i, service) in services.iter().enumerate() {
        for earlier in &services[..i] {
            let fault = |problem: String| {
                Diagnostic::new(service.settings.line, problem).section(&service.settings.section)
            };
            if earlier.name == service.name {
                let (other, line) = (&earlier.settings.section, earlier.settings.line);
                faults.push(
                    fault(format!("its name {} is that of [{other}] at line {line}", service.name))
                        .accepted("a name of its own; [Struct:PREFIX] makes PREFIX.NAME"),
                );
            }
            if let (Some(ours), Some(theirs)) = (service.tcp_address(), earlier.tcp_address())
                && ours.1 == theirs.1
                && (ours.0 == theirs.0 || ours.0.is_unspecified() || theirs.0.is_unspecified())
            {
                let other = &earlier.settings.section;
                faults.push(
                    fault(format!("its TCP port {} is that of [{other}]", ours.1))
                        .key("port")
                        .accepted("a port of its own"),
                );
            }
        }
    }
}

/// Leaves out the services that were not asked for.
fn only(services: &mut Vec<ServicePlan>, wanted: &[String], faults: &mut Diagnostics) {
    let is = |service: &ServicePlan, word: &str| service.name == word || service.settings.section == word;
    for word in wanted {
        if faults.is_empty() && !services.iter().any(|service| is(service, word)) {
            let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            let sections = services.iter().map(|service| service.settings.section.as_str());
            let mut fault = Diagnostic::new(0, format!("no service {word:?}")).accepted(names.join(", "));
            fault.nearest = nearest(word, names.iter().copied().chain(sections)).map(str::to_owned);
            faults.push(fault);
        }
    }
    if !wanted.is_empty() {
        let asked = services.iter().filter(|service| wanted.iter().any(|word| is(service, word)));
        let asked: Vec<String> = asked.map(|service| service.name.clone()).collect();
        let kept = dependencies::with_required(services, &asked);
        services.retain(|service| kept.contains(&service.name));
    }
}
