//! A temporary folder with an ini file, and the daemon run in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// One test's folder.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// A folder with that ini file.
    pub(crate) fn new(ini: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        scene.write("service.ini", ini);
        scene
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes an executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let source = self.write(&format!("{name}.text"), text);
        let path = self.path().join(name);
        // Another process writes it: a descriptor open for writing that leaks into a concurrent test's
        // fork would make the script unrunnable for a moment.
        let status = Command::new("install").args(["-m", "755"]).arg(source).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    /// The daemon's command line in this folder, with arguments before the ini file and after it.
    pub(crate) fn command(&self, before: &[&str], after: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmrpc-service"));
        command.args(before).arg("service.ini").args(after);
        command
            .current_dir(self.path())
            .env("SHMRPC_DIR", self.path().join("run"))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null());
        command
    }

    /// Runs the daemon to its end.
    pub(crate) fn run(&self, before: &[&str], after: &[&str]) -> Output {
        self.command(before, after).output().unwrap()
    }
}

/// Both streams of an output as text.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
