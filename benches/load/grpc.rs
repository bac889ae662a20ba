use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::latencies::Latencies;
use crate::tokens::Tokens;

/// A load generator for gRPC. Each stream sends one call after the other.
#[derive(Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    /// The number of streams on each connection.
    pub streams: usize,
}

impl Load {
    pub async fn run(self, tokens: Tokens, time: Duration) -> Latencies {
        let tokens = Arc::new(tokens);
        let begin = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let channel = channel(self.address).await;
            streams.extend((0..self.streams).map(|_| {
                let (tokens, channel) = (Arc::clone(&tokens), channel.clone());
                tokio::spawn(async move {
                    let mut client = AuthorizationClient::new(channel);
                    let mut latencies = Latencies::default();
                    while begin.elapsed() < time {
                        let sent = Instant::now();
                        ask(&mut client, tokens.next()).await;
                        latencies.add(sent.elapsed());
                    }
                    latencies
                })
            }));
        }
        let mut all = Vec::new();
        for stream in streams {
            all.push(stream.await.unwrap());
        }
        Latencies::merge(all, begin.elapsed().as_secs_f64())
    }
}

/// Sends `count` calls one after the other.
pub async fn count(address: SocketAddr, tokens: &Tokens, count: usize) {
    let mut client = AuthorizationClient::new(channel(address).await);
    for _ in 0..count {
        ask(&mut client, tokens.next()).await;
    }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

async fn ask(client: &mut AuthorizationClient<Channel>, token: &str) {
    let response = client.check(request(token)).await.unwrap();
    let status = response.into_inner().status.unwrap();
    assert_eq!(status.code, 0, "{}", status.message);
}

/// Returns the check that Envoy sends for the request in `request.txt`.
fn request(token: &str) -> CheckRequest {
    let text = include_str!("request.txt").replace("{token}", token);
    let lines = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let own = |name: &&str| !name.starts_with("X-Original") && *name != "Host";
    let headers: HashMap<String, String> = lines
        .filter(|(name, _)| own(name))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let http = HttpRequest {
        method: "GET".to_owned(),
        scheme: "https".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/orders/2026/11?page=2".to_owned(),
        headers,
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Request {
            http: Some(http),
            ..Request::default()
        }),
        ..AttributeContext::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
}
