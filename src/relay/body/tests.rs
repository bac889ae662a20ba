use futures_util::stream;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::*;
use crate::policy::{StreamActivity, StreamSettings};
use crate::streams::StreamLimits;
use crate::streams::testing::open_stream;

/// Settings with or without `stream_end_event`.
fn settings(end_event: bool) -> StreamSettings {
    StreamSettings {
        activity: StreamActivity::ClientData,
        end_event,
        ..StreamSettings::default()
    }
}

/// A body whose chunks the test sends. The body does not end.
fn channel_body() -> (mpsc::Sender<&'static str>, Body) {
    let (sender, receiver) = mpsc::channel(4);
    let chunks = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(chunk), receiver))
    });
    (sender, Body::from_stream(chunks))
}

/// The end of an answer whose stream was cut after one chunk.
#[derive(Debug, PartialEq, Eq)]
struct CutEnd {
    data: String,
    grpc_status: Option<String>,
    has_error: bool,
}

async fn cut_after(
    content_type: &str,
    chunk: &'static str,
    settings: StreamSettings,
    reason: DenyReason,
) -> CutEnd {
    let opened = open_stream(settings, StreamLimits::default());
    let guard = Arc::new(opened.open().unwrap());
    let (sender, body) = channel_body();
    let response = Response::builder().header("content-type", content_type);
    let response = response.body(body).unwrap();
    let mut body = relay_response(response, guard).into_body();
    sender.send(chunk).await.unwrap();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), chunk);
    opened.registry.end_session(opened.session, reason);
    let mut end = CutEnd {
        data: String::new(),
        grpc_status: None,
        has_error: false,
    };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => end.data += std::str::from_utf8(&data).unwrap(),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    let status = trailers["grpc-status"].to_str().unwrap();
                    end.grpc_status = Some(status.to_owned());
                    assert_eq!(trailers["grpc-message"], reason.as_str());
                }
            },
            Err(error) => {
                assert_eq!(error.to_string(), format!("the stream was cut: {reason}"));
                end.has_error = true;
            }
        }
    }
    drop(body);
    assert_eq!(opened.registry.count(), 0);
    end
}

#[tokio::test]
async fn each_kind_of_answer_ends_in_its_own_way() {
    let event = "event: session-ended\ndata: {\"reason\":\"signed_out\"}\n\n";
    let (with, without) = (true, false);
    for (content_type, chunk, end_event, data, grpc_status, has_error) in [
        ("text/event-stream", "data: a\n\n", with, event, None, false),
        (
            "Text/Event-Stream; charset=utf-8",
            "data: a\r\n\r\n",
            with,
            event,
            None,
            false,
        ),
        ("text/event-stream", "data: a\r\r", with, event, None, false),
        // The middle of an event.
        ("text/event-stream", "data: a\n", with, "", None, false),
        ("text/event-stream", "data: a\n\n", without, "", None, false),
        ("application/grpc", "x", without, "", Some("16"), false),
        (
            "application/grpc+proto",
            "x",
            without,
            "",
            Some("16"),
            false,
        ),
        ("application/grpc-web", "x", without, "", None, true),
        ("text/plain", "x", without, "", None, true),
    ] {
        let end = cut_after(
            content_type,
            chunk,
            settings(end_event),
            DenyReason::SignedOut,
        )
        .await;
        let expected = CutEnd {
            data: data.to_owned(),
            grpc_status: grpc_status.map(str::to_owned),
            has_error,
        };
        assert_eq!(end, expected, "{content_type} {chunk:?}");
    }
}

/// The session may still be valid, so the client must not take the cut for a sign-out.
#[tokio::test]
async fn a_cut_after_a_failure_of_the_store_asks_the_client_to_return() {
    let reason = DenyReason::StoreUnavailable;
    let end = cut_after("text/event-stream", "data: a\n\n", settings(true), reason).await;
    let wait = end
        .data
        .strip_prefix("retry: ")
        .and_then(|it| it.strip_suffix("\n\n"));
    let wait: u32 = wait.unwrap().parse().unwrap();
    assert!((1000..=5000).contains(&wait), "{wait}");
    let end = cut_after("application/grpc", "x", settings(true), reason).await;
    assert_eq!(end.grpc_status.as_deref(), Some("14"));
}

#[tokio::test]
async fn an_upload_counts_as_activity_and_fails_when_it_is_cut() {
    let opened = open_stream(settings(true), StreamLimits::default());
    let guard = Arc::new(opened.open().unwrap());
    let (sender, body) = channel_body();
    let request = relay_request(Request::new(body), guard);
    let mut body = request.into_body();
    sender.send("part").await.unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    let stream = opened.stream();
    assert!(stream.active_at() > Default::default());
    assert_eq!(stream.bytes(), (4, 0));
    opened
        .registry
        .end_session(opened.session, DenyReason::Revoked);
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}
