//! Names that a lock has for the instant in which it takes another one's place: `.shmlock.` and whose they are. A
//! process that is killed in that instant leaves one; whoever makes a lock next removes those of the dead, and tells those
//! that still use a lock which lost its name so.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    name::{FOLDER, LockName},
    owner::Owner,
};

const PREFIX: &str = ".shmlock.";

/// A new name of this process.
pub(super) fn path(name: &LockName) -> io::Result<PathBuf> {
    let me = Owner::current(name).map_err(io::Error::other)?;
    let mut random = [0; 8];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
    let random = u64::from_ne_bytes(random);
    let file = format!("{PREFIX}{:x}.{:016x}.{random:016x}", pid_namespace()?, me.word());
    Ok(Path::new(FOLDER).join(file))
}

/// Removes the names that processes of this pid namespace left when they died, after `retire` has seen each. Others'
/// cannot be judged, and what cannot be removed is another user's.
pub(super) fn sweep(retire: impl Fn(&Path)) {
    let Ok(namespace) = pid_namespace() else { return };
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let file = entry.file_name();
        if file.to_str().and_then(|file| owner(file, namespace)).is_some_and(Owner::is_dead) {
            retire(&entry.path());
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whose name it is, if it is one of that pid namespace.
fn owner(file: &str, namespace: u64) -> Option<Owner> {
    let mut parts = file.strip_prefix(PREFIX)?.split('.');
    let number = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
    let of = number(parts.next())?;
    let owner = number(parts.next())?;
    (of == namespace).then(|| Owner::from_word(owner))?
}

fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        let name = LockName::parse("aside").unwrap();
        let (path, namespace) = (path(&name).unwrap(), pid_namespace().unwrap());
        let file = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(owner(file, namespace), Some(Owner::current(&name).unwrap()));
        assert_eq!(owner(file, namespace + 1), None);
        assert_eq!(owner(".shmlock.0123456789abcdef", namespace), None);
        assert_eq!(owner("sem.aside", namespace), None);
    }
}
