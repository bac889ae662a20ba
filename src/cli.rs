//! The command line: one file per command.

mod admin_api;
mod audit;
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
mod migrate_annotations;
mod output;
mod probe;
mod render;
mod revoke;
mod schema;
mod serve;
mod service_manager;
mod sessions;
mod table;

pub use serve::build_runtime;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::build;
use crate::config::{ConfigError, ConfigSource, Loaded};

/// Sessions that end on time, enforced at the edge.
#[derive(Debug, Parser)]
#[command(name = "curfew", version, long_version = build::LONG_VERSION, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a demo on this machine: an application behind Curfew, with limits of a few seconds.
    Demo(demo::DemoArgs),
    /// Run the service. Without a configuration, it keeps sessions in memory.
    Serve(ConfigArgs),
    /// Check whether the service on this machine is ready, for a container's health check.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Check the configuration and print its effective values, without secrets.
    CheckConfig(ConfigArgs),
    /// Report which requirements of standards each policy meets, and why.
    Compliance(compliance::ComplianceArgs),
    /// Report which routes of the Kubernetes cluster send no checks.
    Audit(audit::AuditArgs),
    /// Explain how a request would be evaluated: rule, policies, activity and limits.
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Upgrade the records in Redis to the version of this program, while the service runs.
    Migrate(migrate::MigrateArgs),
    /// Compare the clocks of Redis, the replicas and this machine; choose the correct one with --accept.
    Clock(clock::ClockArgs),
    /// Generate a key for token.keys, or an admin token.
    Keygen(keygen::KeygenArgs),
    /// List, show, end and watch sessions through the admin API.
    Sessions(sessions::SessionsArgs),
    /// Emergency revocation: end all sessions that meet conditions, on every replica.
    Revoke(Box<revoke::RevokeArgs>),
    /// Black-box test: check that an idle session is rejected behind your proxy.
    Probe(Box<probe::ProbeArgs>),
    /// Check proxy configuration for settings that bypass session limits.
    Lint(lint::LintArgs),
    /// Print the configuration of a proxy, with addresses and time limits that match Curfew's.
    Render(render::RenderArgs),
    /// Print SessionPolicies for Ingresses whose annotations send a check to Authelia, oauth2-proxy or another service.
    MigrateAnnotations(migrate_annotations::MigrateAnnotationsArgs),
    /// Print completions for a shell.
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one page per command.
    Man(manual::ManArgs),
}

/// The configuration file and environment.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// The configuration file, YAML or TOML. CURFEW__SECTION__KEY in the environment overrides it.
    #[arg(short, long, value_name = "FILE", env = "CURFEW_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded, ConfigError> {
        self.source().load()
    }

    fn source(&self) -> ConfigSource {
        // Skip variables that are not Unicode, because all configuration values are Unicode.
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        ConfigSource {
            file: self.config.clone(),
            environment: environment.collect(),
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The error of the command, with a message for the terminal.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Demo(args) => demo::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Compliance(args) => compliance::run(&args),
            Command::Audit(args) => audit::run(&args),
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
            Command::MigrateAnnotations(args) => migrate_annotations::run(&args),
            Command::Completions(args) => manual::print_completions(&args),
            Command::Man(args) => manual::print_man(&args),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
