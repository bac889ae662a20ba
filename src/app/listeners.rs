//! Builds the service of each listener, with its limits, and binds its address.

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::server::NamedService;

use super::StartupError;
use super::assembly::LiveAssembly;
use super::background::Background;
use crate::admin;
use crate::admission::{ConcurrencyLimit, LimitKind};
use crate::browser::BrowserService;
use crate::config::Listen;
use crate::contract::CheckService;
use crate::contract::ext_authz_grpc::ExtAuthz;
use crate::contract::spoe::Agent;
use crate::listener::{GrpcServer, LimitedRouter, Listener, Service};
use crate::ops::{self, Ops, grpc_health};

/// Maximum size of a gRPC health request, which contains a service name.
const MAX_HEALTH_REQUEST_BYTES: usize = 4096;

/// Maximum number of connections, and of concurrent requests, of the `ops` listener.
const MAX_OPS_REQUESTS: usize = 256;

/// The addresses of the listeners.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The contracts over HTTP.
    pub check: SocketAddr,
    /// `ext-authz` over gRPC.
    pub grpc: Option<SocketAddr>,
    /// The SPOE agent.
    pub spoe: Option<SocketAddr>,
    /// The pages for browsers and identity providers.
    pub browser: Option<SocketAddr>,
    /// The admin API.
    pub admin: SocketAddr,
    /// Metrics and probes.
    pub ops: SocketAddr,
}

/// The bound listeners.
pub(super) struct BoundListeners {
    pub(super) addresses: Addresses,
    /// All listeners except `ops`.
    pub(super) listeners: Vec<Listener>,
    pub(super) ops: Listener,
}

/// Builds the services of the listeners from these parts.
pub(super) struct ServiceBuilder<'a> {
    pub(super) live_assembly: &'a LiveAssembly,
    pub(super) ops: &'a Arc<Ops>,
    pub(super) listen: Listen,
}

impl ServiceBuilder<'_> {
    /// Binds all listeners that are not disabled.
    pub(super) async fn bind_all(
        &self,
        background: &mut Background,
    ) -> Result<BoundListeners, StartupError> {
        let listen = &self.listen;
        let check = self
            .bind("check", listen.check, Service::http(self.check_service()))
            .await?;
        let grpc = match listen.grpc {
            Some(address) => Some(
                self.bind("grpc", address, self.grpc_service(background))
                    .await?,
            ),
            None => None,
        };
        let spoe = match listen.spoe {
            Some(address) => {
                let draining = Arc::clone(&self.ops.draining);
                let service = Service::spop(self.spoe_agent(), draining);
                Some(self.bind("spoe", address, service).await?)
            }
            None => None,
        };
        let browser = match listen.browser {
            Some(address) => Some(
                self.bind("browser", address, Service::http(self.browser_service()))
                    .await?,
            ),
            None => None,
        };
        let admin = self
            .bind("admin", listen.admin, self.admin_service())
            .await?;
        let ops = self.bind("ops", listen.ops, self.ops_service()).await?;
        let addresses = Addresses {
            check: check.address(),
            grpc: grpc.as_ref().map(Listener::address),
            spoe: spoe.as_ref().map(Listener::address),
            browser: browser.as_ref().map(Listener::address),
            admin: admin.address(),
            ops: ops.address(),
        };
        let listeners = [Some(check), grpc, spoe, browser, Some(admin)];
        Ok(BoundListeners {
            addresses,
            listeners: listeners.into_iter().flatten().collect(),
            ops,
        })
    }

    async fn bind(
        &self,
        name: &'static str,
        address: SocketAddr,
        service: Service,
    ) -> Result<Listener, StartupError> {
        let limit = self.create_limit(name, LimitKind::Connections);
        let listener = Listener::bind(name, address, service, limit).await;
        listener.map_err(|error| StartupError::Bind {
            name,
            address,
            error,
        })
    }

    fn create_limit(&self, name: &'static str, kind: LimitKind) -> ConcurrencyLimit {
        let metrics = &self.ops.metrics;
        let (max, permit_metrics) = match kind {
            LimitKind::Connections => (self.listen.max_connections, metrics.connections(name)),
            LimitKind::Requests => (self.listen.max_in_flight, metrics.requests(name)),
        };
        let max = if name == "ops" {
            MAX_OPS_REQUESTS.min(max)
        } else {
            max
        };
        ConcurrencyLimit::new(name, kind, max, permit_metrics)
    }

    fn request_limit(&self, name: &'static str) -> ConcurrencyLimit {
        self.create_limit(name, LimitKind::Requests)
    }

    /// Builds the service of the contracts over HTTP.
    pub(super) fn check_service(&self) -> CheckService {
        CheckService::new(
            self.live_assembly.contracts.clone(),
            self.request_limit("check"),
        )
    }

    /// Builds the service of the gRPC listener: `ext-authz` and health checks.
    fn grpc_service(&self, background: &mut Background) -> Service {
        let (reporter, health) = tonic_health::server::health_reporter();
        let health = health.max_decoding_message_size(MAX_HEALTH_REQUEST_BYTES);
        let routes = tonic::service::Routes::new(health).add_service(self.ext_authz_service());
        let ops = Arc::clone(self.ops);
        let name = <ExtAuthz as NamedService>::NAME;
        background.spawn(async move |stop| grpc_health::report(ops, reporter, name, stop).await);
        let encryption = self.live_assembly.encryption.clone();
        Service::Grpc(Box::new(GrpcServer::new(routes, encryption)))
    }

    /// Builds the service of `ext-authz` over gRPC.
    pub(super) fn ext_authz_service(&self) -> ExtAuthz {
        ExtAuthz::new(
            self.live_assembly.contracts.clone(),
            self.request_limit("grpc"),
        )
    }

    /// Builds the SPOE agent for HAProxy.
    pub(super) fn spoe_agent(&self) -> Agent {
        Agent::new(
            self.live_assembly.contracts.clone(),
            self.request_limit("spoe"),
        )
    }

    /// Builds the service for browsers and identity providers.
    pub(super) fn browser_service(&self) -> BrowserService {
        let (contracts, logout_endpoints) = (
            &self.live_assembly.contracts,
            &self.live_assembly.logout_endpoints,
        );
        BrowserService::new(
            contracts.clone(),
            logout_endpoints.clone(),
            &self.request_limit("browser"),
        )
    }

    /// Builds the service of the admin API and the console.
    fn admin_service(&self) -> Service {
        let router = admin::router(self.live_assembly.admin.clone());
        Service::http(LimitedRouter::new(router, self.request_limit("admin")))
    }

    /// Builds the service of metrics and probes. `/livez` bypasses the limit, so that the kubelet does not restart a
    /// saturated process.
    fn ops_service(&self) -> Service {
        let router = ops::router(Arc::clone(self.ops));
        Service::http(LimitedRouter::new(router, self.request_limit("ops")).exempt("/livez"))
    }
}
