use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::BodyExt;

/// The maximum number of bytes that Curfew reads of a body that it does not use.
const MAX_DRAIN_BYTES: usize = 32 * 1024 * 1024;
/// The maximum time to read a body to its end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum pause between two chunks, because some proxies announce a body and do not send it.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads a body to its end and discards it. Returns `false` if the body has more than 32 MiB, takes more than 10 s,
/// pauses for 3 s, or fails.
pub async fn drain<B: Body<Data = Bytes>>(body: B) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let mut body = pin!(body);
    let read_to_end = async {
        let mut bytes_read = 0;
        while let Ok(next) = tokio::time::timeout(READ_TIMEOUT, body.frame()).await {
            let Some(frame) = next else { return true };
            let Ok(frame) = frame else { return false };
            bytes_read += frame.data_ref().map_or(0, Buf::remaining);
            if bytes_read > MAX_DRAIN_BYTES {
                return false;
            }
        }
        false
    };
    tokio::time::timeout(DRAIN_TIMEOUT, read_to_end)
        .await
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AxumBody;
    use futures_util::stream;

    use super::*;

    fn body_of_chunks(count: usize, pause: Duration) -> AxumBody {
        let chunk = Bytes::from_static(&[0; 64 * 1024]);
        AxumBody::from_stream(stream::unfold(count, move |left| {
            let chunk = chunk.clone();
            async move {
                tokio::time::sleep(pause).await;
                let next = left.checked_sub(1)?;
                Some((Ok::<_, std::io::Error>(chunk), next))
            }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_drained_within_limits() {
        assert!(drain(AxumBody::empty()).await);
        assert!(drain(body_of_chunks(512, Duration::ZERO)).await);
        assert!(
            !drain(body_of_chunks(513, Duration::ZERO)).await,
            "a body that is too long must not be read to its end"
        );
        assert!(
            !drain(body_of_chunks(20, Duration::from_secs(1))).await,
            "a body that is too slow must not be read to its end"
        );
        let start = tokio::time::Instant::now();
        assert!(!drain(body_of_chunks(1, Duration::from_secs(9))).await);
        assert_eq!(
            start.elapsed(),
            READ_TIMEOUT,
            "a pause of the client must end at the timeout"
        );
    }
}
