//! Forwards the checks of a proxy to Curfew's `/auth-request`. The shim removes the headers from which Curfew
//! recognises a proxy of another family. So it simulates a Curfew that ignores these headers, and a test can show that
//! such a Curfew would be unsafe.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

pub struct Shim {
    pub address: SocketAddr,
}

impl Shim {
    pub async fn start(check_address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(forward_check)
            .with_state(check_address);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address }
    }
}

async fn forward_check(State(check_address): State<SocketAddr>, request: Request) -> Response {
    let mut check_request =
        super::curfew::client().get(format!("http://{check_address}/auth-request"));
    for (name, value) in request.headers() {
        if !["x-forwarded-method", "x-forwarded-uri", "host"].contains(&name.as_str()) {
            check_request = check_request.header(name, value);
        }
    }
    let answer = check_request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response
        .body(Body::from(answer.bytes().await.unwrap()))
        .unwrap()
}
