use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

impl Authority {
    fn generate(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Issues a certificate with these names: DNS names, and URIs with a scheme.
    fn issue(&self, names: &[&str]) -> CertificatePair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names.iter().map(|&name| to_san(name)).collect();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        CertificatePair {
            chain: certificate.pem().into_bytes(),
            key: Secret::new(key.serialize_pem().into_bytes()),
        }
    }
}

fn to_san(name: &str) -> SanType {
    let text = Ia5String::try_from(name).unwrap();
    match name.contains("://") {
        true => SanType::URI(text),
        false => SanType::DnsName(text),
    }
}

fn clients(authority: &Authority, names: &[&str]) -> ClientCertificates {
    ClientCertificates {
        authorities: authority.pem.clone(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

/// Connects a client to a server, both in memory. Returns the server's certificate and the chosen protocol, or `None`
/// if the client or the server refuses the other side.
async fn connect(
    server: Tls,
    authority: &Authority,
    identity: Option<&CertificatePair>,
    server_name: &str,
) -> Option<(CertificateDer<'static>, Option<Vec<u8>>)> {
    let client = Arc::new(client_config(authority, identity));
    let connected = connect_with(&server, client, server_name).await?;
    Some((connected.certificate, connected.protocol))
}

/// The result of a handshake, as the client sees it.
struct Connected {
    certificate: CertificateDer<'static>,
    protocol: Option<Vec<u8>>,
    handshake: HandshakeKind,
}

fn client_config(authority: &Authority, identity: Option<&CertificatePair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&authority.pem).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut client = match identity {
        Some(pair) => {
            let certificate = CertificateDer::from_pem_slice(&pair.chain).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.expose()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    client
}

async fn connect_with(
    server: &Tls,
    client: Arc<ClientConfig>,
    server_name: &str,
) -> Option<Connected> {
    let (client_side, server_side) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let connector = TlsConnector::from(client);
    // In TLS 1.3, the client learns that the server refuses its certificate only when it reads.
    let client = async {
        let mut stream = connector.connect(name, client_side).await.ok()?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        let (_, connection) = stream.get_ref();
        let certificate = connection
            .peer_certificates()?
            .first()?
            .clone()
            .into_owned();
        Some(Connected {
            certificate,
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            handshake: connection.handshake_kind()?,
        })
    };
    let server = async {
        let acceptor = TlsAcceptor::from(server.server_config());
        let mut stream = acceptor.accept(server_side).await.ok()?;
        stream.write_all(b"x").await.ok()?;
        stream.flush().await.ok()
    };
    let (client, server) = tokio::join!(client, server);
    server.and(client)
}

/// The library does not verify the certificate of a client that resumes a TLS session. So a listener with client
/// certificates must not resume sessions.
#[tokio::test]
async fn clients_with_certificates_resume_no_session() {
    let authority = Authority::generate("authority");
    let pairs = [authority.issue(&["curfew"])];
    let identity = authority.issue(&["proxy.example.com"]);
    let clients = clients(&authority, &["proxy.example.com"]);
    for (clients, second) in [
        (None, HandshakeKind::Resumed),
        (Some(&clients), HandshakeKind::Full),
    ] {
        let server = Tls::new(&pairs, clients).unwrap();
        let client = Arc::new(client_config(&authority, Some(&identity)));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let connected = connect_with(&server, Arc::clone(&client), "curfew").await;
            kinds.push(connected.unwrap().handshake);
        }
        assert_eq!(kinds, [HandshakeKind::Full, second]);
    }
}

#[test]
fn a_reload_removes_no_protection() {
    let authority = Authority::generate("authority");
    let pairs = [authority.issue(&["curfew"])];
    let plain = Some(Tls::new(&pairs, None).unwrap());
    let mutual = Some(Tls::new(&pairs, Some(&clients(&authority, &[]))).unwrap());
    for (old, new, expected) in [
        (&None, &None, false),
        (&None, &plain, false),
        (&plain, &mutual, false),
        (&plain, &plain, false),
        (&mutual, &mutual, false),
        (&plain, &None, true),
        (&mutual, &None, true),
        (&mutual, &plain, true),
    ] {
        assert_eq!(is_less_protected(old, new), expected);
    }
}

#[tokio::test]
async fn the_server_name_selects_the_certificate() {
    let authority = Authority::generate("authority");
    let pairs = [
        authority.issue(&["one.example.com", "any.example.com"]),
        authority.issue(&["*.two.example.com"]),
    ];
    let server = Tls::new(&pairs, None).unwrap();
    for (server_name, expected) in [
        ("one.example.com", Some(0)),
        ("any.example.com", Some(0)),
        ("a.two.example.com", Some(1)),
        // The client gets the first certificate, and refuses it.
        ("a.b.two.example.com", None),
        ("three.example.com", None),
        ("192.0.2.1", None),
    ] {
        let server = server.with_protocols(Protocols::Http);
        let connected = connect(server, &authority, None, server_name).await;
        let certificate = connected.map(|(certificate, _)| certificate);
        let expected = expected.map(|index: usize| {
            CertificateDer::from_pem_slice(&pairs[index].chain)
                .unwrap()
                .into_owned()
        });
        assert_eq!(certificate, expected, "{server_name}");
    }
}

#[tokio::test]
async fn each_listener_offers_its_protocols() {
    let authority = Authority::generate("authority");
    let pairs = [authority.issue(&["curfew"])];
    let server = Tls::new(&pairs, None).unwrap();
    for (protocols, expected) in [
        (Protocols::Http, Some(&b"h2"[..])),
        (Protocols::Http2, Some(b"h2")),
        (Protocols::None, None),
    ] {
        let server = server.with_protocols(protocols);
        let (_, protocol) = connect(server, &authority, None, "curfew").await.unwrap();
        assert_eq!(protocol.as_deref(), expected);
    }
}

#[tokio::test]
async fn only_allowed_clients_connect() {
    let authority = Authority::generate("authority");
    let other_authority = Authority::generate("other authority");
    let pairs = [authority.issue(&["curfew"])];
    const SPIFFE_ID: &str = "spiffe://example.com/ns/ingress/sa/proxy";
    let dns_client = authority.issue(&["proxy.example.com", "second.example.com"]);
    let wildcard_client = authority.issue(&["*.example.com"]);
    let spiffe_client = authority.issue(&[SPIFFE_ID, "proxy.example.com"]);
    let two_ids_client = authority.issue(&[SPIFFE_ID, "spiffe://example.com/ns/other"]);
    let dots_client = authority.issue(&["spiffe://example.com/ns/ingress/../admin"]);
    let query_client = authority.issue(&["spiffe://example.com/ns/ingress/x?y"]);
    let web_client = authority.issue(&["https://example.com/ns"]);
    let unknown_client = other_authority.issue(&["proxy.example.com", SPIFFE_ID]);
    let no_client = None;
    for (allowed_names, client, is_allowed) in [
        (&[][..], Some(&dns_client), true),
        (&[], Some(&spiffe_client), true),
        (&[], no_client, false),
        (&[], Some(&unknown_client), false),
        (&["proxy.example.com"], Some(&dns_client), true),
        (&["second.example.com"], Some(&dns_client), true),
        (&["other", "second.example.com"], Some(&dns_client), true),
        (&["PROXY.example.com"], Some(&dns_client), true),
        (&["proxy.example.com."], Some(&dns_client), true),
        // A wildcard certificate does not count as the certificate of a client.
        (&["proxy.example.com"], Some(&wildcard_client), false),
        (&["example.com"], Some(&dns_client), false),
        (&["oxy.example.com"], Some(&dns_client), false),
        (&["proxy.example.com"], Some(&spiffe_client), true),
        (&["proxy.example.com"], no_client, false),
        (&["proxy.example.com"], Some(&unknown_client), false),
        (&[SPIFFE_ID], Some(&spiffe_client), true),
        (&[SPIFFE_ID], Some(&dns_client), false),
        (&[SPIFFE_ID], Some(&two_ids_client), false),
        (&[SPIFFE_ID], Some(&unknown_client), false),
        (&["spiffe://example.com"], Some(&spiffe_client), false),
        (
            &["spiffe://example.com/ns/ingress"],
            Some(&spiffe_client),
            false,
        ),
        (
            &["spiffe://example.com/ns/ingress/*"],
            Some(&spiffe_client),
            true,
        ),
        (&["spiffe://example.com/*"], Some(&spiffe_client), true),
        (
            &["spiffe://example.com/ns/in/*"],
            Some(&spiffe_client),
            false,
        ),
        (&["spiffe://example.org/*"], Some(&spiffe_client), false),
        (&["spiffe://example.com/*"], Some(&two_ids_client), false),
        (
            &["spiffe://example.com/ns/ingress/*"],
            Some(&dots_client),
            false,
        ),
        (&["spiffe://example.com/*"], Some(&query_client), false),
        (&["spiffe://example.com/*"], Some(&web_client), false),
    ] {
        let tls = Tls::new(&pairs, Some(&clients(&authority, allowed_names))).unwrap();
        let server = tls.with_protocols(Protocols::Http);
        let connected = connect(server, &authority, client, "curfew").await;
        assert_eq!(connected.is_some(), is_allowed, "{allowed_names:?}");
    }
}

#[test]
fn invalid_settings_are_refused() {
    let authority = Authority::generate("authority");
    let (one, other) = (authority.issue(&["one"]), authority.issue(&["other"]));
    let mixed = CertificatePair {
        chain: one.chain.clone(),
        key: other.key,
    };
    let error = |pairs: &[CertificatePair], clients| Tls::new(pairs, clients).unwrap_err();
    assert!(matches!(error(&[], None), TlsError::NoCertificate));
    assert!(matches!(error(&[mixed], None), TlsError::KeyMismatch));
    let no_certificate = CertificatePair {
        chain: b"no certificate".to_vec(),
        key: one.key.clone(),
    };
    assert!(matches!(
        error(&[no_certificate], None),
        TlsError::NoCertificate
    ));
    let no_key = CertificatePair {
        chain: one.chain.clone(),
        key: Secret::new(b"no key".to_vec()),
    };
    assert!(matches!(error(&[no_key], None), TlsError::KeyPem(_)));
    let no_authority = ClientCertificates {
        authorities: b"no certificate".to_vec(),
        names: Vec::new(),
    };
    assert!(matches!(
        error(&[one], Some(&no_authority)),
        TlsError::Authorities(_)
    ));
}
