//! Measures the time of the parts of a check, and of whole checks with each contract. A contract is the way in which a
//! family of proxies sends a check and reads the answer. All sessions are in the store `memory`.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use criterion::{Criterion, criterion_group, criterion_main};
use curfew::bench_exports::{
    Agent, CheckService, Checker, ConcurrencyLimit, Contracts, CookieSettings, ExtAuthz,
    LastKnownSessions, Lifecycle, LifecycleParts, LimitKind, OpenStreams, SessionCookie, SignIn,
    Sources, SpopService, StreamLimits, StreamRegistry,
};
use curfew::clock::{Clock, SystemClock};
use curfew::credential::{CredentialExtractor, KeyRing, PresentedCredential, SigningKey};
use curfew::identity::IdentityHeaders;
use curfew::live::Live;
use curfew::policy::{
    AddressHeader, BackgroundHeaders, Client, Policies, Policy, Routes, Rulebook, Rules,
};
use curfew::session::{Attributes, Limits, PolicyName, Session, SessionId, Subject, decide};
use curfew::store::cached::CachedStore;
use curfew::store::memory::MemoryStore;
use curfew::store::{InvalidationListener, LocalStore, SessionStore};
use curfew::telemetry::Metrics;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use spop::TypedData;
use spop::frame::Message;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;
use tower::Service;

const LIMITS: Limits = Limits {
    idle: Some(Duration::from_secs(900)),
    absolute: Duration::from_secs(43_200),
    max_auth_age: None,
};
const COOKIE: &str = "__Host-session";

/// A service with the store `memory` and one session.
struct Bench {
    runtime: Runtime,
    contracts: Live<Contracts>,
    session: (SessionId, Session),
    token: String,
    /// The headers that a browser sends.
    headers: Vec<(&'static str, String)>,
}

impl Bench {
    fn create_limit(&self) -> ConcurrencyLimit {
        let permit_metrics = Metrics::new().unwrap().requests("check");
        ConcurrencyLimit::new("check", LimitKind::Requests, 10, permit_metrics)
    }

    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let memory = Arc::new(MemoryStore::new(10, Arc::new(SystemClock)));
        let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
        let name = PolicyName::new("default").unwrap();
        let policies = [(name.clone(), Policy::of(LIMITS))].into();
        let policies = Arc::new(Policies::new(policies, name).unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let streams = OpenStreams::new(Arc::new(SystemClock), None, Arc::clone(&metrics));
        let parts = LifecycleParts {
            routes: Live::new(Routes::default()),
            stores: memory.into(),
            clock: Arc::new(SystemClock),
            key_ring: Arc::new(KeyRing::new(vec![key]).unwrap()),
            policies: Arc::clone(&policies),
            end_retention: Duration::from_secs(3600),
            metrics,
            tombstone_extensions: Arc::default(),
            last_known_sessions: Arc::new(LastKnownSessions::default()),
            recent_events: Arc::default(),
            streams: Arc::new(streams),
            webhook: None,
            tasks: TaskTracker::new(),
        };
        let lifecycle = Lifecycle::new(parts.clone());
        let groups = [
            ("email", vec!["alice@example.com"]),
            ("groups", vec!["orders", "staff"]),
        ];
        let sign_in = SignIn {
            usable_at: None,
            subject: Subject::new("alice@example.com").unwrap(),
            attributes: Attributes::from_sorted(groups).unwrap(),
            policy: PolicyName::new("default").unwrap(),
            remember: false,
            client: Client::default(),
            authenticated: None,
            host: None,
            refresh: None,
            actor: curfew::actor::Actor::CURFEW,
        };
        let started = runtime.block_on(lifecycle.start(sign_in)).unwrap();
        let checker = Checker {
            stores: parts.stores,
            clock: parts.clock,
            metrics: parts.metrics,
            last_known_sessions: parts.last_known_sessions,
            rulebook: Arc::new(Rulebook {
                hosts: curfew::policy::NamedHosts::default(),
                policies,
                rules: Rules::default(),
                routes: Live::new(Routes::default()),
                background: BackgroundHeaders::default(),
            }),
            sources: Sources {
                extractor: create_extractor(),
                key_ring: parts.key_ring,
                jwt: Vec::new(),
                delegates: Vec::new(),
            },
            address: AddressHeader {
                name: HeaderName::from_static("x-forwarded-for"),
                proxies: 1,
            },
            store_timeout: Duration::from_secs(1),
            observers: Arc::default(),
            revalidation: None,
            stream_registry: StreamRegistry {
                streams: parts.streams,
                limits: StreamLimits::default(),
            },
            lifecycle,
        };
        let cookie = SessionCookie::new(CookieSettings {
            name: COOKIE.to_owned(),
            domain: None,
            path: "/".to_owned(),
            secure: true,
            same_site: cookie::SameSite::Lax,
            persistent: false,
        });
        let contracts = Live::new(Contracts {
            checker,
            cookie: cookie.unwrap(),
            sign_in: None,
            login: None,
            identity: IdentityHeaders::default_names(),
            assertion_signer: None,
            clear_site_data: None,
            literal_headers: false,
            stream_deadline: false,
        });
        let token = started.token.expose();
        let request = include_str!("load/request.txt").replace("{token}", &token);
        let header_lines = request.lines().filter_map(|line| line.split_once(": "));
        let is_contract_header = |name: &str| name.starts_with("X-Original") || name == "Host";
        let headers = header_lines.filter(|(name, _)| !is_contract_header(name));
        let headers = headers.map(|(name, value)| {
            let name: &'static str = name.to_lowercase().leak();
            (name, value.to_owned())
        });
        Self {
            runtime,
            contracts,
            session: (started.id, started.session),
            headers: headers.collect(),
            token,
        }
    }

    fn header_map(&self) -> HeaderMap {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        headers.collect()
    }

    /// Returns a check over HTTP. `contract_headers` contains the headers in which the proxy sends the router inputs.
    fn http_request(
        &self,
        path: &str,
        contract_headers: &[(&'static str, &'static str)],
    ) -> http::Request<Body> {
        let mut request = http::Request::builder().uri(path).body(Body::empty());
        let headers = request.as_mut().unwrap().headers_mut();
        *headers = self.header_map();
        for (name, value) in contract_headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        request.unwrap()
    }

    /// Returns the body of the gRPC call with which Envoy sends the check.
    fn grpc_call(&self) -> Vec<u8> {
        let headers = self.headers.iter();
        let http = HttpRequest {
            method: "GET".to_owned(),
            scheme: "https".to_owned(),
            host: "app.example.com".to_owned(),
            path: "/orders/2026/11?page=2".to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect::<HashMap<_, _>>(),
            ..HttpRequest::default()
        };
        let attributes = AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        };
        let message = CheckRequest {
            attributes: Some(attributes),
        };
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), &message].concat()
    }

    /// Returns the SPOE message with which HAProxy sends the check.
    fn spoe_message(&self) -> Message {
        let mut encoded_headers = Vec::new();
        for (name, value) in &self.headers {
            for text in [*name, value] {
                assert!(text.len() < 240, "a length is one byte");
                encoded_headers.push(text.len() as u8);
                encoded_headers.extend_from_slice(text.as_bytes());
            }
        }
        encoded_headers.extend([0, 0]);
        let text = |text: &str| TypedData::String(text.to_owned());
        let args = [
            ("method", text("GET")),
            ("scheme", text("https")),
            ("host", text("app.example.com")),
            ("path", text("/orders/2026/11?page=2")),
            ("headers", TypedData::Binary(encoded_headers)),
        ];
        Message {
            name: "check".to_owned(),
            args: args.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}

fn create_extractor() -> CredentialExtractor {
    CredentialExtractor {
        cookie: COOKIE.to_owned(),
        bearer: true,
        jwt: None,
    }
}

fn bench_parts(criterion: &mut Criterion) {
    let bench = Bench::new();
    let (id, session) = &bench.session;
    let now = SystemClock.now();
    criterion.bench_function("decide", |bencher| {
        bencher.iter(|| decide(black_box(Some(session)), &LIMITS, &LIMITS, now));
    });
    let (contracts, headers) = (bench.contracts.current(), bench.header_map());
    let key_ring = &contracts.checker.sources.key_ring;
    criterion.bench_function("verify a token", |bencher| {
        bencher.iter(|| key_ring.verify(black_box(bench.token.as_bytes())).is_ok());
    });
    let extractor = create_extractor();
    criterion.bench_function("find the cookie", |bencher| {
        bencher.iter(|| {
            let found = extractor.extract(black_box(&headers));
            assert!(matches!(found, PresentedCredential::Token(_)));
        });
    });
    let cached_store = CachedStore::new(
        MemoryStore::new(10, Arc::new(SystemClock)),
        10,
        Arc::new(SystemClock),
        Arc::new(SystemClock),
        Arc::new(Metrics::new().unwrap()),
    );
    let valid_until = now.plus(Duration::from_secs(3600));
    cached_store.caught_up_to(valid_until);
    bench.runtime.block_on(async {
        cached_store.create(*id, session).await.unwrap();
        cached_store.load(*id).await.unwrap();
    });
    criterion.bench_function("load from the near cache", |bencher| {
        bencher.iter(|| match cached_store.load_cached(black_box(*id)) {
            Some(session) => session,
            // The near cache keeps a record in memory only for a time, so load an expired record again.
            None => bench
                .runtime
                .block_on(cached_store.load(*id))
                .unwrap()
                .unwrap(),
        });
    });
}

fn bench_whole_checks(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("check");
    let check_service = CheckService::new(bench.contracts.clone(), bench.create_limit());
    let url = (
        "x-original-url",
        "https://app.example.com/orders/2026/11?page=2",
    );
    let forwarded = [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/orders/2026/11?page=2"),
    ];
    let envoy = [("host", "app.example.com"), ("x-forwarded-proto", "https")];
    for (name, path, contract_headers) in [
        (
            "auth-request",
            "/auth-request",
            &[url, ("x-original-method", "GET")][..],
        ),
        ("forward-auth", "/forward-auth", &forwarded),
        ("ext-authz", "/ext-authz/orders/2026/11?page=2", &envoy),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || bench.http_request(path, contract_headers),
                |request| {
                    let answer = bench.runtime.block_on(check_service.answer(request, None));
                    assert_eq!(answer.status(), 200);
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    let (mut service, call) = (
        ExtAuthz::new(bench.contracts.clone(), bench.create_limit()),
        bench.grpc_call(),
    );
    group.bench_function("ext-authz over gRPC", |bencher| {
        bencher.iter_batched(
            || {
                let path = "/envoy.service.auth.v3.Authorization/Check";
                let request = http::Request::post(path).header("content-type", "application/grpc");
                request.body(Body::from(call.clone())).unwrap()
            },
            |request| {
                let answer = bench.runtime.block_on(service.call(request)).unwrap();
                assert_eq!(answer.status(), 200);
            },
            criterion::BatchSize::SmallInput,
        );
    });
    let (agent, message) = (
        Agent::new(bench.contracts.clone(), bench.create_limit()),
        bench.spoe_message(),
    );
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    group.bench_function("spoe", |bencher| {
        bencher.iter(|| {
            let actions = bench.runtime.block_on(agent.answer(&message, peer));
            assert!(actions.len() > 3);
        });
    });
    group.finish();
}

criterion_group!(benches, bench_parts, bench_whole_checks);
criterion_main!(benches);
