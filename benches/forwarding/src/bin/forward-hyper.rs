//! A reverse proxy with the client of hyper-util. Arguments: the address to listen on, the address of the application.

use std::net::SocketAddr;

use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Forwarder = Client<HttpConnector, Incoming>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("two addresses should be arguments");
    let (listen, application): (SocketAddr, String) = (
        next().parse().expect("the first argument should be an address"),
        next(),
    );
    let listener = TcpListener::bind(listen).await.expect("the address should be free");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (client, application) = (client.clone(), application.clone());
        let service = service_fn(move |request| forward(client.clone(), application.clone(), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

async fn forward(
    client: Forwarder,
    application: String,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, hyper_util::client::legacy::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = format!("http://{application}{path}")
        .parse()
        .expect("the path of a request should be valid");
    *request.uri_mut() = uri;
    let from_client = hyper::upgrade::on(&mut request);
    let mut response = client.request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let from_application = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(one), Ok(other)) = tokio::join!(from_client, from_application) {
                let (mut one, mut other) = (TokioIo::new(one), TokioIo::new(other));
                let _ = tokio::io::copy_bidirectional_with_sizes(&mut one, &mut other, 65536, 65536).await;
            }
        });
    }
    Ok(response.map(BodyExt::boxed))
}
