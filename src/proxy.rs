//! The proxy listener: Curfew as a reverse proxy. It checks each request, forwards it to the application, and ends the
//! request's stream with its session.
//!
//! The addresses of applications come from the configuration alone, never from a request. A request for a host without
//! an upstream is refused before its check.

mod answers;
mod connector;
mod forwarded;
mod forwarding;
mod headers;
mod health;
mod router_input;
mod service;
mod settings;
mod upstream;
mod upstreams;

pub use health::{HealthCheck, check_upstreams};
pub use service::ProxyService;
pub use settings::{ProxySettings, Target, UpstreamSettings};
pub use upstream::UpstreamError;
pub use upstreams::Upstreams;
