use std::io::Write;

use clap::{Args, CommandFactory};

use super::Cli;

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell to print completions for.
    shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Write one page per command to DIRECTORY; without it, print the page of `curfew`.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<std::path::PathBuf>,
}

/// Prints the completion script of a shell.
pub(super) fn print_completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    // Generate the script in memory first, because the library panics if the output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "curfew", &mut script);
    super::output::raw_stdout().write_all(&script)?;
    Ok(())
}

/// Prints the manual page, or writes one file per command.
pub(super) fn print_man(args: &ManArgs) -> anyhow::Result<()> {
    match &args.directory {
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory)?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            super::output::raw_stdout().write_all(&page)?;
        }
    }
    Ok(())
}
