//! A certificate authority with a certificate for 127.0.0.1 and a client certificate. Each test generates its own
//! certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Makes `rustls` use the cryptography library that the program uses.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    pub fn generate() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        // The authority needs a distinct name: OpenSSL treats a certificate as self-signed if its subject equals its
        // issuer.
        let name = &mut authority.distinguished_name;
        name.push(DnType::CommonName, "an authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        for (name, subjects) in [
            ("server", ["127.0.0.1", "curfew"]),
            ("client", ["envoy", "proxy.example.com"]),
        ] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(subjects.map(str::to_owned)).unwrap();
            let certificate = certificate.signed_by(&key, &issuer).unwrap();
            let (certificate, key) = (certificate.pem(), key.serialize_pem());
            let path = directory.path().join(name);
            std::fs::write(path.with_extension("pem"), &certificate).unwrap();
            std::fs::write(path.with_extension("key"), &key).unwrap();
            let both = directory.path().join(format!("{name}-and-key.pem"));
            std::fs::write(both, certificate + &key).unwrap();
        }
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn path_string(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Returns the options of a Redis that also listens with TLS, on a separate port, and requires client
    /// certificates.
    pub fn redis_options(&self) -> Vec<String> {
        let port = super::free_port().to_string();
        let words = [
            "--tls-port",
            &port,
            "--tls-cert-file",
            &self.path_string("server.pem"),
            "--tls-key-file",
            &self.path_string("server.key"),
            "--tls-ca-cert-file",
            &self.path_string("ca.pem"),
            "--tls-auth-clients",
            "yes",
        ];
        words.map(str::to_owned).to_vec()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A listener whose connections use TLS.
pub struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// Uses the certificate `server`.
    pub fn new(listener: TcpListener, certificates: &Certificates) -> Self {
        install_provider();
        let certificate = CertificateDer::from_pem_file(certificates.path("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = Arc::new(config).into();
        Self { listener, acceptor }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
