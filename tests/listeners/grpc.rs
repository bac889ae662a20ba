//! Tests `ext-authz` over gRPC with a real client.

use std::collections::HashMap;

use curfew::clock::Stopwatch;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::eventually;
use crate::support::redis::RedisServer;
use crate::support::tls::Certificates;

async fn connect_channel(curfew: &Curfew) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", curfew.grpc.unwrap()));
    endpoint.unwrap().connect().await.unwrap()
}

fn check_request(session: &CreatedSession) -> CheckRequest {
    let http = HttpRequest {
        method: "GET".to_owned(),
        scheme: "https".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/".to_owned(),
        headers: HashMap::from([("cookie".to_owned(), session.cookie())]),
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

/// Sends a check, and returns the status code in the answer. The call itself must succeed.
async fn check(channel: Channel, session: &CreatedSession) -> i32 {
    let mut client = AuthorizationClient::new(channel);
    let response = client.check(check_request(session)).await.unwrap();
    response.into_inner().status.unwrap().code
}

#[tokio::test]
async fn answers_are_never_errors_of_the_call() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let channel = connect_channel(&curfew).await;
    assert_eq!(check(channel.clone(), &session).await, Code::Ok as i32);
    curfew.revoke(&session).await;
    assert_eq!(
        check(channel.clone(), &session).await,
        Code::Unauthenticated as i32
    );
    // A call without attributes succeeds, too.
    let mut client = AuthorizationClient::new(channel);
    let answer = client
        .check(CheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code, Code::Unauthenticated as i32);
    assert!(answer.http_response.is_some());
}

#[tokio::test]
async fn health_is_the_same_as_readyz() {
    let mut redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url()).start();
    let mut client = HealthClient::new(connect_channel(&curfew).await);
    let mut all_services_are = async |expected: ServingStatus| {
        let mut all_match = true;
        for service in ["", "envoy.service.auth.v3.Authorization"] {
            let service = service.to_owned();
            let answer = client.check(HealthCheckRequest { service }).await.unwrap();
            all_match &= answer.into_inner().status == expected as i32;
        }
        all_match
    };
    eventually("the health service reports SERVING", async || {
        all_services_are(ServingStatus::Serving).await
    })
    .await;
    redis.stop();
    eventually("the health service reports NOT_SERVING", async || {
        all_services_are(ServingStatus::NotServing).await
    })
    .await;
    redis.start_again();
    eventually("the health service reports SERVING again", async || {
        all_services_are(ServingStatus::Serving).await
    })
    .await;
}

#[tokio::test]
async fn calls_in_flight_are_finished_when_the_process_stops() {
    let redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "5s")
        .set("STORE__CHECK_TIMEOUT", "5s")
        .start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    let channel = connect_channel(&curfew).await;
    assert_eq!(check(channel.clone(), &session).await, Code::Ok as i32);
    redis.freeze();
    let call = tokio::spawn(async move { check(channel, &session).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    curfew.signal("TERM");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    redis.thaw();
    assert_eq!(call.await.unwrap(), Code::Ok as i32);
    let stopwatch = Stopwatch::start();
    curfew.stop().await;
    assert!(stopwatch.seconds() < 5.0);
}

#[tokio::test]
async fn a_silent_client_does_not_delay_stopping() {
    let curfew = Setup::memory().start();
    let _silent = tokio::net::TcpStream::connect(curfew.grpc.unwrap())
        .await
        .unwrap();
    let _idle = connect_channel(&curfew).await;
    let stopwatch = Stopwatch::start();
    curfew.stop().await;
    assert!(stopwatch.seconds() < 5.0, "{}", stopwatch.seconds());
}

async fn connect(curfew: &Curfew, tls: ClientTlsConfig) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("https://{}", curfew.grpc.unwrap()));
    endpoint.unwrap().tls_config(tls).unwrap().connect().await
}

/// Returns whether the server refuses the connection. Sends a call too, because the client may detect the refusal
/// only then.
async fn is_refused(curfew: &Curfew, tls: ClientTlsConfig) -> bool {
    match connect(curfew, tls).await {
        Err(_) => true,
        Ok(channel) => {
            let mut client = AuthorizationClient::new(channel);
            client.check(CheckRequest::default()).await.is_err()
        }
    }
}

#[tokio::test]
async fn tls_requires_trusted_certificates() {
    let certificates = Certificates::generate();
    let other_certificates = Certificates::generate();
    let read_file =
        |certificates: &Certificates, name: &str| std::fs::read(certificates.path(name)).unwrap();
    let tls_config = || {
        let authority = Certificate::from_pem(read_file(&certificates, "ca.pem"));
        ClientTlsConfig::new().ca_certificate(authority)
    };
    let client_identity = |certificates: &Certificates| {
        Identity::from_pem(
            read_file(certificates, "client.pem"),
            read_file(certificates, "client.key"),
        )
    };
    let setup = Setup::memory()
        .set(
            "TLS__GRPC__CERT_FILE",
            &certificates.path_string("server.pem"),
        )
        .set(
            "TLS__GRPC__KEY_FILE",
            &certificates.path_string("server.key"),
        );

    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    let channel = connect(&curfew, tls_config()).await.unwrap();
    assert_eq!(check(channel, &session).await, Code::Ok as i32);
    let authority = Certificate::from_pem(read_file(&other_certificates, "ca.pem"));
    assert!(is_refused(&curfew, ClientTlsConfig::new().ca_certificate(authority)).await);
    // The listener serves no plaintext when it has certificates.
    let plaintext = Endpoint::from_shared(format!("http://{}", curfew.grpc.unwrap())).unwrap();
    if let Ok(channel) = plaintext.connect().await {
        let mut client = AuthorizationClient::new(channel);
        client.check(check_request(&session)).await.unwrap_err();
    }
    curfew.stop().await;

    let curfew = setup
        .set(
            "TLS__GRPC__CLIENT_CA_FILE",
            &certificates.path_string("ca.pem"),
        )
        .start();
    let session = curfew.sign_in("alice").await;
    let known_client = tls_config().identity(client_identity(&certificates));
    let channel = connect(&curfew, known_client).await.unwrap();
    assert_eq!(check(channel, &session).await, Code::Ok as i32);
    assert!(is_refused(&curfew, tls_config()).await);
    let unknown_client = tls_config().identity(client_identity(&other_certificates));
    assert!(is_refused(&curfew, unknown_client).await);
}

#[tokio::test]
async fn invalid_certificates_prevent_the_start() {
    let certificates = Certificates::generate();
    let (certificate, key) = (
        certificates.path_string("server.pem"),
        certificates.path_string("server.key"),
    );
    for (certificate, key, authority) in [
        (&key, &key, None),
        (&certificate, &certificate, None),
        (&certificate, &key, Some(&key)),
    ] {
        let mut setup = Setup::memory()
            .set("TLS__GRPC__CERT_FILE", certificate)
            .set("TLS__GRPC__KEY_FILE", key);
        if let Some(authority) = authority {
            setup = setup.set("TLS__GRPC__CLIENT_CA_FILE", authority);
        }
        let output = setup.command(&["serve"]).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("TLS__GRPC__"), "{errors}");
        assert!(!errors.contains("PRIVATE KEY"), "{errors}");
    }
}

/// While the process runs, cert-manager replaces the certificate. New connections get the new certificate, and open
/// connections continue.
#[tokio::test]
async fn certificates_are_replaced_while_curfew_runs() {
    let (old, new) = (Certificates::generate(), Certificates::generate());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let copy_to_directory = |certificates: &Certificates| {
        for name in ["server.pem", "server.key"] {
            std::fs::copy(certificates.path(name), path(name)).unwrap();
        }
    };
    let tls_config = |certificates: &Certificates| {
        let authority = std::fs::read(certificates.path("ca.pem")).unwrap();
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority))
    };
    copy_to_directory(&old);
    let curfew = Setup::memory()
        .set("TLS__GRPC__CERT_FILE", path("server.pem").to_str().unwrap())
        .set("TLS__GRPC__KEY_FILE", path("server.key").to_str().unwrap())
        .start();
    let session = curfew.sign_in("alice").await;
    let channel = connect(&curfew, tls_config(&old)).await.unwrap();
    assert_eq!(check(channel.clone(), &session).await, Code::Ok as i32);
    assert!(is_refused(&curfew, tls_config(&new)).await);
    copy_to_directory(&new);
    eventually("Curfew presents the new certificate", async || {
        !is_refused(&curfew, tls_config(&new)).await
    })
    .await;
    assert!(is_refused(&curfew, tls_config(&old)).await);
    assert_eq!(
        check(channel, &session).await,
        Code::Ok as i32,
        "the open connection should continue"
    );
    // Curfew rejects an invalid key, and keeps the previous certificate.
    std::fs::write(path("server.key"), "nonsense").unwrap();
    eventually("readyz reports the rejected configuration", async || {
        curfew
            .get_ops("/readyz?verbose")
            .await
            .1
            .contains("configuration: rejected")
    })
    .await;
    assert!(!is_refused(&curfew, tls_config(&new)).await);
}

/// If a client compresses its messages, it gets a denial with the reason. Envoy does not compress messages.
#[tokio::test]
async fn compressed_messages_are_denied_with_a_reason() {
    let curfew = Setup::memory().start();
    let stream = tokio::net::TcpStream::connect(curfew.grpc.unwrap())
        .await
        .unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://a/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    let message: &[u8] = &[1, 0, 0, 0, 4, 0x1f, 0x8b, 8, 0];
    body.send_data(message.into(), true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(Ok(data)) = answer.data().await {
        bytes.extend_from_slice(&data);
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("malformed_request"), "{text}");
    assert!(text.contains("the message is compressed"), "{text}");
}

/// Curfew answers a request that is not a gRPC call. Other calls continue.
#[tokio::test]
async fn a_request_that_is_not_a_call_is_answered() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    for (method, uri) in [
        ("CONNECT", "app.example.com:443"),
        ("BREW", "http://a/"),
        ("GET", "http://a/envoy.service.auth.v3.Authorization/Check"),
        ("POST", "http://a/nonesuch"),
    ] {
        let stream = tokio::net::TcpStream::connect(curfew.grpc.unwrap())
            .await
            .unwrap();
        let (mut send, connection) = h2::client::handshake::<_>(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap();
        let (answer, _): (_, h2::SendStream<bytes::Bytes>) =
            send.send_request(request, true).unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), answer).await;
        // The answer may be a gRPC status, an HTTP status or a stream reset.
        assert!(answer.is_ok(), "no answer to {method} {uri}");
    }
    assert_eq!(
        check(connect_channel(&curfew).await, &session).await,
        Code::Ok as i32
    );
}
