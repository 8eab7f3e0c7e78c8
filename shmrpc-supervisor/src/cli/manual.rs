//! `shmrpc completions SHELL` and `shmrpc man`: made of the definitions of the command line, as the daemon's are of its.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{
    args::{Args, CompletionsArgs, ManArgs},
    failure::{Exit, Failure},
    nearest::suggestion,
};

pub(super) fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    write_completions(Args::command(), args.shell, out).map_err(Failure::output)
}

pub(super) fn page(args: &ManArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut command = Args::command();
    if let Some(name) = &args.command {
        command.build();
        let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let found = command.find_subcommand(name).filter(|found| !found.is_hide_set()).cloned();
        command = found.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("no command {name}")).hint(&suggestion(name, &names))
        })?;
    }
    write_page(command, out).map_err(Failure::output)
}

/// A completion script for a program.
///
/// # Errors
/// When it cannot be written.
pub fn write_completions(mut command: Command, shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}

/// A manual page for a program, or for one of its commands.
///
/// # Errors
/// When it cannot be written.
pub fn write_page(command: Command, out: &mut dyn Write) -> io::Result<()> {
    // A command's own page is that of `shmrpc-restart`.
    let title = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command).title(title).render(&mut page)?;
    out.write_all(&page)
}
