//! Keys on what a worker's process is given beside its program, and on what comes before it →
//! [`Surroundings`] and [`Dependencies`].

use nix::unistd::{Gid, Group, Uid, User};

use super::{diagnostic::Diagnostic, reader::Reader, value};

/// What a worker's process is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The user that it runs as; `None`: the daemon's own.
    pub user: Option<u32>,
    /// The group that it runs as.
    pub group: Option<u32>,
    /// The bits that files which it makes do not get.
    pub umask: Option<u32>,
    /// Its niceness.
    pub nice: Option<i32>,
    /// Open files that it may have.
    pub limit_nofile: Option<u64>,
    /// Address space that it may have.
    pub limit_as_bytes: Option<u64>,
    /// The largest core file that it may leave.
    pub limit_core_bytes: Option<u64>,
}

/// What other services a service needs. Names or sections, as the user wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Started after these, if they are started at all.
    pub after: Vec<String>,
    /// Not started before these run.
    pub requires: Vec<String>,
    /// The line that names them.
    pub line: usize,
}

pub(super) fn surroundings(reader: &mut Reader<'_>) -> Surroundings {
    let named = |text: &str| User::from_name(text).ok().flatten();
    let user = reader.read("user", "a user of this machine, by name or number", |text| {
        text.parse().ok().or_else(|| named(text).map(|user| user.uid.as_raw()))
    });
    let group = reader.read("group", "a group of this machine, by name or number", |text| {
        let group = || Some(Group::from_name(text).ok()??.gid.as_raw());
        text.parse().ok().or_else(group)
    });
    // A user without a group would keep the daemon's, which may be root's.
    let own_group = user.and_then(|user| User::from_uid(Uid::from_raw(user)).ok().flatten());
    let group = group.or_else(|| own_group.map(|user| user.gid.as_raw()));
    if user.is_some_and(|user| Uid::effective() != Uid::from_raw(user)) && group.is_none() {
        let problem = "nobody of that number is known here, so that a group must be named too";
        reader.fault(Diagnostic::new(reader.line("user"), problem).key("user").accepted("with group"));
    }
    let foreign = user.is_some_and(|user| Uid::effective() != Uid::from_raw(user))
        || group.is_some_and(|group| Gid::effective() != Gid::from_raw(group));
    if foreign && !Uid::effective().is_root() {
        let line = reader.line("user").max(reader.line("group"));
        let problem = "only root may run workers as somebody else";
        reader.fault(Diagnostic::new(line, problem).key("user"));
    }
    let mut size = |key: &str| reader.read(key, value::ACCEPTED_SIZE, value::size_bytes);
    let (limit_as_bytes, limit_core_bytes) = (size("limit_as"), size("limit_core"));
    Surroundings {
        user,
        group,
        umask: reader.read("umask", "an octal number such as 027", |text| {
            u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|mask| *mask <= 0o777)
        }),
        nice: reader
            .read("nice", "-20 to 19", |text| text.parse().ok().filter(|nice| (-20..=19).contains(nice))),
        limit_nofile: reader.read("limit_nofile", "a number of open files, 16 or more", |text| {
            text.parse().ok().filter(|count| *count >= 16)
        }),
        limit_as_bytes,
        limit_core_bytes,
    }
}

pub(super) fn dependencies(reader: &mut Reader<'_>) -> Dependencies {
    let names = |text: &str| {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        words.iter().all(|word| !word.is_empty()).then_some(words)
    };
    let accepted = "services, by name or section, between commas";
    Dependencies {
        after: reader.read("after", accepted, names).unwrap_or_default(),
        requires: reader.read("requires", accepted, names).unwrap_or_default(),
        line: reader.line("requires").max(reader.line("after")),
    }
}
