use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::output::stdout;
use crate::admin::AdminToken;
use crate::credential::SigningKey;

#[derive(Args, Debug)]
pub(super) struct KeygenArgs {
    /// Generate a token for the admin API, and its hash for admin.token_hashes.
    #[arg(long)]
    admin: bool,
    /// Write missing key files to DIRECTORY: keys, admin-token and admin-token-hashes.
    #[arg(short, long, value_name = "DIRECTORY", conflicts_with = "admin")]
    directory: Option<PathBuf>,
}

/// Prints a new key, or a new admin token with its hash. With a directory, writes a key, an admin token and its hash
/// to files instead.
pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<()> {
    let mut out = stdout();
    if let Some(directory) = &args.directory {
        write_new_file(&directory.join("keys"), &SigningKey::generate()?)?;
        let token = AdminToken::generate()?;
        // Write the hash before the token. If the process stops between the two writes, the next run finds no token
        // and generates both.
        if !directory.join("admin-token").exists() {
            let hashes = directory.join("admin-token-hashes");
            let _ = std::fs::remove_file(&hashes);
            write_new_file(&hashes, &token.hash_text())?;
            write_new_file(&directory.join("admin-token"), token.token.expose())?;
        }
    } else if args.admin {
        let token = AdminToken::generate()?;
        writeln!(
            out,
            "token: {}\nhash:  {}",
            token.token.expose(),
            token.hash_text()
        )?;
    } else {
        writeln!(out, "{}", SigningKey::generate()?)?;
    }
    Ok(())
}

/// Writes a line to a new file with mode 0600; keeps an existing file.
fn write_new_file(path: &Path, line: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = match file {
        Ok(mut file) => {
            writeln!(stdout(), "{}", path.display())?;
            writeln!(file, "{line}")
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    written.with_context(|| path.display().to_string())
}
