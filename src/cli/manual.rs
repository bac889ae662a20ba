use std::io::Write;

use clap::{Args, CommandFactory};

use super::Cli;

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Where to put a page for each command; without it, the page of `curfew` is printed.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<std::path::PathBuf>,
}

/// Prints what makes a shell complete the command line.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    // Into memory first: the library would panic where the output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "curfew", &mut script);
    super::output::raw_stdout().write_all(&script)?;
    Ok(())
}

/// Prints the manual, or writes it as files.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
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
