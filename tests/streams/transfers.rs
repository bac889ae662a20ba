//! Downloads and uploads of a minute pass each proxy, with a session limit that is shorter than a minute.

use std::time::Duration;

use curfew::render::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::application::{SLOW_CHUNKS, SLOW_INTERVAL};
use crate::routing::{Route, request};

/// The idle limit in the files of the proxies. Their limits for streams must not apply to other transfers.
const IDLE: Duration = Duration::from_secs(30);

const PROXIES: [Proxy; 6] = [
    Proxy::Nginx,
    Proxy::Haproxy,
    Proxy::Traefik,
    Proxy::Caddy,
    Proxy::EnvoyHttp,
    Proxy::EnvoyGrpc,
];

async fn assert_transfers(proxy: Proxy, ends_streams: bool) {
    let name = format!("{proxy:?}, with Curfew for streams: {ends_streams}");
    let route = Route::start_with(proxy, ends_streams, IDLE).await;
    let cookie = route.curfew.sign_in("alice").await.cookie();
    let download = async {
        let (mut stream, head) = request(route.address, "/slow", &cookie, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        let mut body = vec![0; usize::try_from(SLOW_CHUNKS).unwrap() * 1000];
        let read = stream.read_exact(&mut body).await;
        assert!(read.is_ok(), "{name}: the download was cut");
    };
    let upload = async {
        let length = SLOW_CHUNKS * 1000;
        let mut stream = tokio::net::TcpStream::connect(route.address).await.unwrap();
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\ncontent-length: {length}\r\n\r\n",
            route.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..SLOW_CHUNKS {
            tokio::time::sleep(SLOW_INTERVAL).await;
            let written = stream.write_all(&[b'x'; 1000]).await;
            assert!(written.is_ok(), "{name}: the upload was cut");
        }
        let mut answer = vec![0; 4096];
        let mut length_read = 0;
        let expected = format!("received {length} bytes");
        while !String::from_utf8_lossy(&answer[..length_read]).contains(&expected) {
            let read = stream.read(&mut answer[length_read..]).await.unwrap();
            let text = String::from_utf8_lossy(&answer[..length_read]).into_owned();
            assert!(read > 0, "{name}: {text}");
            length_read += read;
        }
    };
    tokio::join!(download, upload);
}

#[tokio::test]
async fn transfers_of_a_minute_pass_each_proxy() {
    let variants = PROXIES
        .iter()
        .flat_map(|proxy| [(*proxy, false), (*proxy, true)]);
    let transfers = variants.map(|(proxy, ends_streams)| assert_transfers(proxy, ends_streams));
    futures_util::future::join_all(transfers).await;
}
