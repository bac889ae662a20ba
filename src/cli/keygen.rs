use std::io::Write;

use clap::Args;

use crate::admin::AdminToken;
use crate::credential::SigningKey;

#[derive(Args, Debug)]
pub(super) struct KeygenArgs {
    /// Make a token for the admin API, and its hash for admin.token_hashes.
    #[arg(long)]
    admin: bool,
}

/// Prints a new key, or a new admin token with its hash.
pub(super) fn run(args: &KeygenArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if args.admin {
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
