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

/// A load generator for gRPC. Several tasks share a connection. Each task sends one call after the other.
#[derive(Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    /// The number of concurrent calls (HTTP/2 streams) on each connection.
    pub streams: usize,
}

impl Load {
    pub async fn run(self, tokens: Tokens, duration: Duration) -> Latencies {
        let tokens = Arc::new(tokens);
        let start = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let channel = open_channel(self.address).await;
            streams.extend((0..self.streams).map(|_| {
                let (tokens, channel) = (Arc::clone(&tokens), channel.clone());
                tokio::spawn(async move {
                    let mut client = AuthorizationClient::new(channel);
                    let mut latencies = Latencies::default();
                    while start.elapsed() < duration {
                        let sent = Instant::now();
                        send_call(&mut client, tokens.next()).await;
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
        Latencies::merge(all, start.elapsed().as_secs_f64())
    }
}

/// Sends `count` calls one after the other.
pub async fn send_calls(address: SocketAddr, tokens: &Tokens, count: usize) {
    let mut client = AuthorizationClient::new(open_channel(address).await);
    for _ in 0..count {
        send_call(&mut client, tokens.next()).await;
    }
}

async fn open_channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

async fn send_call(client: &mut AuthorizationClient<Channel>, token: &str) {
    let response = client.check(create_request(token)).await.unwrap();
    let status = response.into_inner().status.unwrap();
    assert_eq!(status.code, 0, "{}", status.message);
}

/// Returns the check that Envoy sends for the request in `request.txt`.
fn create_request(token: &str) -> CheckRequest {
    let text = include_str!("request.txt").replace("{token}", token);
    let lines = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let is_client_header = |name: &&str| !name.starts_with("X-Original") && *name != "Host";
    let headers: HashMap<String, String> = lines
        .filter(|(name, _)| is_client_header(name))
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
