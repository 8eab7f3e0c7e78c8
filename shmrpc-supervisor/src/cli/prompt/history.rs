//! Where the prompt's lines are kept between sessions: a file for its user alone, and so many lines at most.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustyline::{Editor, error::ReadlineError, history::FileHistory};

use super::helper::Helper;

/// The oldest lines beyond are forgotten.
pub(super) const MAX_LINES: usize = 1000;

/// The file that lines go to, if there is one.
pub(super) struct Kept {
    path: Option<PathBuf>,
}

impl Kept {
    /// Gives the editor the lines of earlier sessions.
    pub(super) fn load(editor: &mut Editor<Helper, FileHistory>) -> Self {
        let Some(path) = path(|name| env::var_os(name).map(PathBuf::from)) else {
            return Self { path: None };
        };
        match editor.load_history(&path) {
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => eprintln!("shmrpc: reading {}: {error}", path.display()),
            Ok(()) => {}
        }
        Self { path: Some(path) }
    }

    /// Writes lines that are new. Where that fails it is said once, and not tried again.
    pub(super) fn save(&mut self, editor: &mut Editor<Helper, FileHistory>) {
        let Some(path) = &self.path else { return };
        let made = path.parent().map_or(Ok(()), make_folder).map_err(ReadlineError::Io);
        if let Err(error) = made.and_then(|()| editor.append_history(path)) {
            eprintln!("shmrpc: lines are not kept: {}: {error}", path.display());
            self.path = None;
        }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// `$SHMRPC_HISTORY`, where an empty one means none; else a file in the user's folder for such things.
fn path(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(path) = variable("SHMRPC_HISTORY") {
        return Some(path).filter(|path| !path.as_os_str().is_empty());
    }
    let state = variable("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
    let home = || Some(variable("HOME").filter(|home| home.is_absolute())?.join(".local/state"));
    Some(state.or_else(home)?.join("shmrpc/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_users_have_such_things() {
        let with = |set: &[(&str, &str)]| {
            path(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value)))
        };
        let home = ("HOME", "/home/a");
        assert_eq!(with(&[home]), Some("/home/a/.local/state/shmrpc/history".into()));
        assert_eq!(with(&[home, ("XDG_STATE_HOME", "/s")]), Some("/s/shmrpc/history".into()));
        assert_eq!(with(&[home, ("XDG_STATE_HOME", "relative")]), with(&[home]));
        assert_eq!(with(&[home, ("SHMRPC_HISTORY", "lines")]), Some("lines".into()));
        assert_eq!(with(&[home, ("SHMRPC_HISTORY", "")]), None);
        assert_eq!(with(&[]), None);
    }
}
