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
use crate::listener::{
    GrpcServer, HttpService, LimitedRouter, Listener, ListenerName, PerListener, Service,
};
use crate::ops::{self, Ops, grpc_health};
use crate::proxy::ProxyService;

/// Maximum size of a gRPC health request, which contains a service name.
const MAX_HEALTH_REQUEST_BYTES: usize = 4096;

/// Maximum number of connections, and of concurrent requests, of the `ops` listener.
const MAX_OPS_REQUESTS: usize = 256;

/// The bound addresses of each listener; a listener that is off has none.
pub type BoundAddresses = PerListener<Vec<SocketAddr>>;

/// The bound listeners.
pub(super) struct BoundListeners {
    pub(super) addresses: BoundAddresses,
    /// All listeners except `ops`.
    pub(super) listeners: Vec<Listener>,
    pub(super) ops: Listener,
}

/// Builds the services of the listeners from these parts.
pub(super) struct ServiceBuilder<'a> {
    pub(super) live_assembly: &'a LiveAssembly,
    pub(super) ops: &'a Arc<Ops>,
    pub(super) listen: &'a Listen,
}

impl ServiceBuilder<'_> {
    /// Binds all listeners that are not off.
    pub(super) fn bind_all(
        &self,
        background: &mut Background,
    ) -> Result<BoundListeners, StartupError> {
        let mut listeners = Vec::new();
        for (name, addresses) in self.listen.addresses.iter() {
            if name != ListenerName::Ops && !addresses.is_empty() {
                let service = self.create_service(name, background);
                listeners.push((name, self.bind(name, service)?));
            }
        }
        let ops = self.bind(ListenerName::Ops, self.ops_service())?;
        let addresses = PerListener::from_fn(|name| {
            let found = listeners.iter().find(|(listener, _)| *listener == name);
            let bound = match name {
                ListenerName::Ops => Some(&ops),
                _ => found.map(|(_, listener)| listener),
            };
            bound.map_or_else(Vec::new, |listener| listener.addresses().to_vec())
        });
        Ok(BoundListeners {
            addresses,
            listeners: listeners
                .into_iter()
                .map(|(_, listener)| listener)
                .collect(),
            ops,
        })
    }

    fn create_service(&self, name: ListenerName, background: &mut Background) -> Service {
        match name {
            ListenerName::Check => self.http(self.check_service()),
            ListenerName::Grpc => self.grpc_service(background),
            ListenerName::Spoe => Service::spop(self.spoe_agent(), Arc::clone(&self.ops.draining)),
            ListenerName::Browser => self.http(self.browser_service()),
            ListenerName::Proxy => self.http(self.proxy_service()),
            ListenerName::Admin => self.admin_service(),
            ListenerName::Ops => self.ops_service(),
        }
    }

    fn http(&self, service: impl HttpService) -> Service {
        Service::http(service, Arc::clone(&self.ops.draining))
    }

    fn bind(&self, name: ListenerName, service: Service) -> Result<Listener, StartupError> {
        let limit = self.create_limit(name.as_str(), LimitKind::Connections);
        let addresses = self.listen.addresses.get(name);
        let encryption = self.live_assembly.encryption.get(name).clone();
        let failures = self.ops.metrics.tls_handshake_failures(name.as_str());
        let tls = (encryption, failures);
        let listener = Listener::bind(name.as_str(), addresses, service, limit, tls);
        listener.map_err(|(address, error)| StartupError::Bind {
            name: name.as_str(),
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

    /// Builds the service that answers checks over HTTP.
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
        Service::Grpc(Box::new(GrpcServer::new(routes)))
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

    /// Builds the service that forwards requests to applications.
    pub(super) fn proxy_service(&self) -> ProxyService {
        let logout_endpoints = self.live_assembly.logout_endpoints.clone();
        let limit = self.request_limit("proxy");
        let contracts = self.live_assembly.contracts.clone();
        ProxyService::new(
            contracts.clone(),
            self.live_assembly.upstreams.clone(),
            BrowserService::new(contracts, logout_endpoints, &limit),
            self.live_assembly
                .encryption
                .get(ListenerName::Proxy)
                .clone(),
            limit,
        )
    }

    /// Builds the service of the admin API and the console.
    fn admin_service(&self) -> Service {
        let router = admin::router(self.live_assembly.admin.clone());
        self.http(LimitedRouter::new(router, self.request_limit("admin")))
    }

    /// Builds the service of metrics and probes. `/livez` bypasses the limit, so that the kubelet does not restart a
    /// saturated process.
    fn ops_service(&self) -> Service {
        let router = ops::router(Arc::clone(self.ops));
        self.http(LimitedRouter::new(router, self.request_limit("ops")).exempt("/livez"))
    }
}
