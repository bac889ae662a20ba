use std::net::SocketAddr;

use axum::Router;
use axum::routing::any;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Serves HTTP, and answers every request with 200.
pub async fn http(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let router = Router::new().route("/{*path}", any(async || ()));
    axum::serve(listener, router).await.unwrap();
}

/// Serves gRPC, and allows every request.
pub async fn grpc(address: SocketAddr) {
    let service = AuthorizationServer::new(AllowAll);
    let server = Server::builder().add_service(service);
    server.serve(address).await.unwrap();
}

struct AllowAll;

#[tonic::async_trait]
impl Authorization for AllowAll {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse {
            status: Some(RpcStatus::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}
