//! A real backend, which remembers every request that reaches it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Uri};

/// What the backend answers.
pub const BODY: &str = "hello from the backend";

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }
}

#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
        };
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(backend.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        backend
    }

    /// The requests since the last time this was asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The one request since the last time this was asked.
    pub fn take_one(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

async fn answer(
    State(backend): State<Backend>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    backend.seen.lock().unwrap().push(Seen {
        method,
        uri,
        headers,
        body,
    });
    match path.as_str() {
        "/teapot" => (http::StatusCode::IM_A_TEAPOT, BODY).into_response(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            BODY.into_response()
        }
        _ => ([("set-cookie", "app=1; Path=/")], BODY).into_response(),
    }
}
