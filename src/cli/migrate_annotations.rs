use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::output::{stderr, stdout};
use crate::escape::line;
use crate::migrate_annotations::{
    AutheliaConfig, ConfigError, LimitSources, Migration, Oauth2ProxyConfig, parse_limit,
};

#[derive(Args, Debug)]
pub(super) struct MigrateAnnotationsArgs {
    /// Files with Ingresses, as `kubectl get ingress -A -o yaml` prints them. A directory stands for all its YAML and
    /// JSON files, and `-` for standard input, which is the default.
    #[arg(value_name = "FILE|DIR|-", default_value = "-")]
    files: Vec<PathBuf>,
    /// The idle limit for Ingresses whose idle limit is unknown.
    #[arg(long, value_name = "DURATION", value_parser = parse_limit)]
    idle: Option<Duration>,
    /// The absolute limit for Ingresses whose absolute limit is unknown.
    #[arg(long, value_name = "DURATION", value_parser = parse_limit)]
    absolute: Option<Duration>,
    /// The configuration file of Authelia, for its session limits.
    #[arg(long, value_name = "FILE")]
    authelia_config: Option<PathBuf>,
    /// The configuration file of oauth2-proxy, for the lifetime of its cookie.
    #[arg(long, value_name = "FILE")]
    oauth2_proxy_config: Option<PathBuf>,
}

/// Prints a SessionPolicy for each Ingress with a check, and the notes on standard error. Fails if a file could not be
/// read, but prints the policies for all other files.
pub(super) fn run(args: &MigrateAnnotationsArgs) -> anyhow::Result<()> {
    let mut err = stderr();
    let mut migration = Migration::new(load_sources(args)?);
    let mut failures = 0;
    for path in &args.files {
        for file in list_files(path) {
            let read = file.and_then(|file| {
                let name = display_name(&file);
                let text = read_text(&file).with_context(|| name.clone())?;
                migration.read(&name, &text).with_context(|| name)
            });
            if let Err(error) = read {
                failures += 1;
                writeln!(err, "error: {}", line(&format!("{error:#}")))?;
            }
        }
    }
    write!(stdout(), "{}", migration.to_yaml())?;
    for note in migration.summary() {
        writeln!(err, "{}", line(&note))?;
    }
    writeln!(err, "{}", migration.counts())?;
    match failures {
        0 => Ok(()),
        1 => bail!("1 file could not be read: its Ingresses are not in the output"),
        count => bail!("{count} files could not be read: their Ingresses are not in the output"),
    }
}

fn load_sources(args: &MigrateAnnotationsArgs) -> anyhow::Result<LimitSources> {
    Ok(LimitSources {
        idle: args.idle,
        absolute: args.absolute,
        authelia: load_config(args.authelia_config.as_deref(), AutheliaConfig::parse)?,
        oauth2_proxy: load_config(
            args.oauth2_proxy_config.as_deref(),
            Oauth2ProxyConfig::parse,
        )?,
    })
}

/// Reads a configuration file. `None` without a path.
fn load_config<T>(
    path: Option<&Path>,
    parse: impl Fn(&str) -> Result<T, ConfigError>,
) -> anyhow::Result<Option<T>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let name = display_name(path);
    let text = read_text(path).with_context(|| name.clone())?;
    Ok(Some(parse(&text).context(name)?))
}

fn display_name(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    path.display().to_string()
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    if path != Path::new("-") {
        return Ok(std::fs::read_to_string(path)?);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the file itself, or the YAML and JSON files of a directory and its subdirectories, in the order of their
/// names. A directory that cannot be listed is an error in the result.
fn list_files(path: &Path) -> Vec<anyhow::Result<PathBuf>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let mut files = Vec::new();
    list_directory(path, &mut files);
    if files.is_empty() {
        let name = path.display();
        files.push(Err(anyhow::anyhow!(
            "{name}: no YAML or JSON file in the directory"
        )));
    }
    files
}

fn list_directory(directory: &Path, files: &mut Vec<anyhow::Result<PathBuf>>) {
    let entries =
        std::fs::read_dir(directory).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = match entries.with_context(|| directory.display().to_string()) {
        Ok(entries) => entries,
        Err(error) => return files.push(Err(error)),
    };
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() && is_link {
            // Such a link can lead back to a directory above it.
            let name = path.display();
            files.push(Err(anyhow::anyhow!(
                "{name}: a symbolic link to a directory is not read"
            )));
        } else if path.is_dir() {
            list_directory(&path, files);
        } else if extension.is_some_and(|it| matches!(it, "yaml" | "yml" | "json")) {
            files.push(Ok(path));
        }
    }
}
