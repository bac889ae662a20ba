//! The health checks of applications.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cells::start_proxy;
use crate::support::curfew::{Setup, client};
use crate::support::eventually;

/// Starts an application that answers each request with a status, and returns its address.
async fn start_application(status: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let status = Arc::clone(&status);
            tokio::spawn(async move {
                let mut buffer = [0; 16 * 1024];
                while stream
                    .read(&mut buffer)
                    .await
                    .is_ok_and(|length| length > 0)
                {
                    let status = status.load(Ordering::SeqCst);
                    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn an_unhealthy_application_gets_no_requests() {
    let status = Arc::new(AtomicU16::new(200));
    let (address, other) = (
        start_application(Arc::clone(&status)).await,
        start_application(Arc::new(AtomicU16::new(204))).await,
    );
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let write_target = |target: &str| {
        let yaml = format!(
            "proxy: {{upstreams: [{{host: 127.0.0.1, target: 'http://{target}', health_path: /health, \
             health_interval: 1s}}]}}"
        );
        std::fs::write(file.path(), yaml).unwrap();
    };
    write_target(&address);
    let (curfew, proxy) = start_proxy(Setup::memory(), file.path());
    let session = curfew.sign_in("alice").await;
    let send = async |cookie: String| {
        let request = client()
            .get(format!("http://{proxy}/x"))
            .header("cookie", cookie);
        request.send().await.unwrap()
    };
    let metric = async |target: &str| {
        let (_, metrics) = curfew.get_ops("/metrics").await;
        let start = format!("curfew_upstream_healthy{{target=\"http://{target}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.map(str::to_owned)
    };
    eventually("the application is healthy", async || {
        metric(&address).await.as_deref() == Some("1")
    })
    .await;
    assert_eq!(send(session.cookie()).await.status(), 200);

    status.store(500, Ordering::SeqCst);
    eventually("the application is unhealthy", async || {
        metric(&address).await.as_deref() == Some("0")
    })
    .await;
    let refused = send(session.cookie()).await;
    assert_eq!(refused.status(), 503);
    let wait: u32 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(
        refused.text().await.unwrap(),
        "The application is not available at the moment.\n"
    );
    assert_eq!(
        send("a=b".to_owned()).await.status(),
        401,
        "the check comes first"
    );
    let (ready, text) = curfew.get_ops("/readyz?verbose").await;
    assert_eq!(ready, 200, "the other applications must still be served");
    let line = format!("proxy: the application http://{address} is unhealthy");
    assert!(text.contains(&line), "{text}");

    status.store(302, Ordering::SeqCst);
    eventually("the application is healthy again", async || {
        send(session.cookie()).await.status() == 302
    })
    .await;

    write_target(&other);
    curfew.signal("HUP");
    eventually("the new application is healthy", async || {
        metric(&other).await.as_deref() == Some("1")
    })
    .await;
    assert_eq!(metric(&address).await, None);
    assert_eq!(send(session.cookie()).await.status(), 204);
}
