//! The command line: one file a command.

mod admin_api;
mod check_config;
mod clock;
mod colour;
mod compliance;
mod demo;
mod explain;
mod healthcheck;
mod keygen;
mod lint;
mod manual;
mod migrate;
mod output;
mod probe;
mod render;
mod revoke;
mod schema;
mod serve;
mod service_manager;
mod sessions;
mod table;

pub use serve::runtime;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::build;
use crate::config::{ConfigError, Loaded, Source};

/// Sessions that end on time, enforced at the edge.
#[derive(Debug, Parser)]
#[command(name = "curfew", version, long_version = build::LONG, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does: an application behind Curfew, with limits of seconds, on this machine.
    Demo(demo::DemoArgs),
    /// Run the service. Without a configuration, sessions are kept in memory.
    Serve(ConfigArgs),
    /// Ask the service on this machine whether it is ready, for a container's health check.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Check the configuration and print what is in force, without its secrets.
    CheckConfig(ConfigArgs),
    /// Report each policy against what standards ask of session limits: met or not, and why.
    Compliance(compliance::ComplianceArgs),
    /// Say which rule and which policies a request meets, whether it is activity, and which limits
    /// apply.
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Upgrade the records in Redis to the version that this program writes, while checks go on.
    Migrate(migrate::MigrateArgs),
    /// Compare the clocks of Redis, of the replicas and of this machine, and say which one is right.
    Clock(clock::ClockArgs),
    /// Make a key for token.keys, or an admin token.
    Keygen(keygen::KeygenArgs),
    /// List, show, end and watch sessions, over the admin API.
    Sessions(sessions::SessionsArgs),
    /// End all sessions that meet conditions, on every replica: emergency revocation, over the admin API.
    Revoke(Box<revoke::RevokeArgs>),
    /// Try whether idle sessions end, at a page behind a proxy, as a client sees it.
    Probe(Box<probe::ProbeArgs>),
    /// Look through a proxy's files for what would defeat the limits of sessions.
    Lint(lint::LintArgs),
    /// Print a proxy's configuration, with the addresses and time limits that fit Curfew's own.
    Render(render::RenderArgs),
    /// Print completions for a shell.
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(manual::ManArgs),
}

/// Where the configuration is.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// The configuration file, YAML or TOML. CURFEW__SECTION__KEY in the environment goes over it.
    #[arg(short, long, value_name = "FILE", env = "CURFEW_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded, ConfigError> {
        self.source().load()
    }

    fn source(&self) -> Source {
        // What is not Unicode can't be a value of ours, and is not shown as one.
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Source {
            file: self.config.clone(),
            environment: environment.collect(),
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// With what went wrong, for people.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Demo(args) => demo::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Compliance(args) => compliance::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Schema => schema::run(),
            Command::Migrate(args) => migrate::run(&args),
            Command::Clock(args) => clock::run(&args),
            Command::Keygen(args) => keygen::run(&args),
            Command::Probe(args) => probe::run(&args),
            Command::Lint(args) => lint::run(&args),
            Command::Sessions(args) => sessions::run(&args),
            Command::Revoke(args) => revoke::run(&args),
            Command::Render(args) => render::run(&args),
            Command::Completions(args) => manual::completions(&args),
            Command::Man(args) => manual::man(&args),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
