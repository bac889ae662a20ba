//! Applications that send interim answers (1xx) before their answer.

use futures_util::future::BoxFuture;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::application::{Connection, ReceivedHeads};
use crate::cells::{Cells, body, host};
use crate::support::curfew::Setup;

fn serve_with_interim(
    stream: Box<dyn Connection>,
    is_http2: bool,
    _: ReceivedHeads,
) -> BoxFuture<'static, ()> {
    if is_http2 {
        Box::pin(serve_http2(stream))
    } else {
        Box::pin(serve_http1(stream))
    }
}

async fn serve_http1(mut stream: Box<dyn Connection>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        let answers = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                       HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if stream.write_all(answers.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn serve_http2(stream: Box<dyn Connection>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        for status in [StatusCode::EARLY_HINTS, StatusCode::PROCESSING] {
            let interim = Response::builder().status(status).body(()).unwrap();
            respond.send_informational(interim).unwrap();
        }
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data("ok".into(), true).unwrap();
    }
}

/// Hyper's server cannot send interim answers, so they stop at Curfew. The final answer arrives.
#[tokio::test]
async fn the_answer_after_interim_answers_arrives() {
    let cells = Cells::start_serving(Setup::memory(), "", serve_with_interim).await;
    for cell in cells.all() {
        let request = cell.request("GET", "/x").body(body("")).unwrap();
        let answer = cell.send(request).await.unwrap();
        let found = (answer.status, &*answer.body);
        assert_eq!(found, (StatusCode::OK, "ok"), "{}", cell.name());
        let mut stream = TcpStream::connect(cells.proxy).await.unwrap();
        let (host, cookie) = (host(cell.kind), cells.session.cookie());
        let request = format!(
            "GET /x HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = String::new();
        stream.read_to_string(&mut bytes).await.unwrap();
        assert!(
            bytes.starts_with("HTTP/1.1 200 "),
            "{}: {bytes}",
            cell.name()
        );
        assert!(!bytes.contains("HTTP/1.1 10"), "{}: {bytes}", cell.name());
    }
}
