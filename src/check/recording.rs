//! Recordings: checks of a few minutes, without secrets, for an operator who sets up a proxy.
//!
//! An operator starts a recording. Its duration, its number of checks and the size of each value are limited. The
//! recording contains paths, but no values of cookies, queries or path parameters, and no credentials in headers.

mod redact;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckRequest, Outcome};
use crate::session::Timestamp;

/// Maximum duration of a recording.
pub const MAX_DURATION: Duration = Duration::from_secs(600);
/// The maximum number of checks in a recording. After that, each new check replaces the oldest check.
const MAX_CHECKS: usize = 200;
/// The maximum number of header lines that are recorded for one check.
const MAX_HEADER_LINES: usize = 100;

/// Records checks between `start` and `stop`.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Whether a recording runs. While no recording runs, a check reads only this flag, and takes no lock.
    running: AtomicBool,
    recording: Mutex<Option<Recording>>,
}

/// The checks that were recorded.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
pub struct Recording {
    /// The start of the recording, RFC 3339.
    pub started: String,
    /// The end of the recording, RFC 3339.
    pub until: String,
    /// The number of older checks that were dropped. A recording contains at most 200 checks.
    pub dropped: u64,
    /// The checks, oldest first.
    pub checks: Vec<RecordedCheck>,
    #[serde(skip)]
    end: Timestamp,
    #[serde(skip)]
    newest: VecDeque<RecordedCheck>,
}

/// One check as the proxy sent it, and the answer. Secrets are replaced with their length.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct RecordedCheck {
    /// The time of the answer, RFC 3339.
    pub at: String,
    /// The name of the contract, as in the configuration.
    pub contract: String,
    /// The name of the policy that the proxy requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The address of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The method of the original request, if it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL of the original request without the values of its query, if it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The headers of the check, each with its name and its value.
    pub headers: Vec<(String, String)>,
    /// `allow`, or the reason of the denial.
    pub verdict: String,
    /// The cause of the denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Recorder {
    /// Starts a recording, which replaces the previous one. The new recording ends after the time `duration`, at the
    /// latest after [`MAX_DURATION`].
    pub fn start(&self, now: Timestamp, duration: Duration) -> Recording {
        let end = now.plus(duration.min(MAX_DURATION));
        let recording = Recording {
            started: now.to_string(),
            until: end.to_string(),
            end,
            ..Recording::default()
        };
        *self.recording.lock() = Some(recording.clone());
        self.running.store(true, Ordering::Relaxed);
        recording
    }

    /// Stops recording and deletes the recording. Returns whether there was a recording.
    pub fn stop(&self) -> bool {
        self.running.store(false, Ordering::Relaxed);
        self.recording.lock().take().is_some()
    }

    /// Returns the current recording; `None` if none was started.
    #[must_use]
    pub fn read(&self) -> Option<Recording> {
        let recording = self.recording.lock();
        recording.as_ref().map(|recording| Recording {
            checks: recording.newest.iter().cloned().collect(),
            newest: VecDeque::new(),
            started: recording.started.clone(),
            until: recording.until.clone(),
            ..*recording
        })
    }

    /// Whether checks are recorded now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Records a check, if a recording runs.
    pub fn record(&self, request: &CheckRequest<'_>, outcome: &Outcome, now: Timestamp) {
        let mut recording = self.recording.lock();
        let Some(recording) = recording.as_mut() else {
            return;
        };
        if now >= recording.end {
            self.running.store(false, Ordering::Relaxed);
            return;
        }
        if recording.newest.len() == MAX_CHECKS {
            recording.newest.pop_front();
            recording.dropped += 1;
        }
        recording
            .newest
            .push_back(redacted_check(request, outcome, now));
    }
}

fn redacted_check(request: &CheckRequest<'_>, outcome: &Outcome, now: Timestamp) -> RecordedCheck {
    let original = request.original.as_ref().ok();
    let header_lines = request.headers.iter().take(MAX_HEADER_LINES);
    RecordedCheck {
        at: now.to_string(),
        contract: request.contract.to_string(),
        policy: request.policy.map(redact::shorten_text),
        peer: request.peer.map(|peer| peer.to_string()),
        method: original.map(|original| original.method.to_string()),
        url: original.map(|original| redact::redact_url(&original.url.to_bytes())),
        headers: header_lines
            .map(|(name, value)| (name.to_string(), redact::redact_header(name, value)))
            .collect(),
        verdict: outcome.verdict.as_str().to_owned(),
        detail: outcome.detail.map(|detail| detail.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::check::{ClientAddress, Original, OriginalUrl};
    use crate::policy::Contract;
    use crate::session::{DenyReason, Verdict};
    use crate::testing::{MINUTE, SECOND, START};

    fn record_check(recorder: &Recorder, now: Timestamp) {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "session=secret; theme=dark".parse().unwrap());
        headers.insert("authorization", "Bearer secret".parse().unwrap());
        headers.insert("x-api-key", "secret".parse().unwrap());
        headers.insert(
            "x-original-url",
            "https://a/b?token=secret".parse().unwrap(),
        );
        let url = OriginalUrl::parse(b"https://app.example.com/a?code=secret&secret").unwrap();
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(&Method::GET, url)),
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        let outcome = Outcome {
            verdict: Verdict::Deny(DenyReason::NoCredential),
            ..Outcome::PUBLIC
        };
        recorder.record(&request, &outcome, now);
    }

    #[test]
    fn a_recording_holds_no_secret() {
        let recorder = Recorder::default();
        recorder.start(START, MINUTE);
        record_check(&recorder, START);
        let text = serde_json::to_string(&recorder.read().unwrap()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        for shown in [
            "https://app.example.com/a?code=",
            "theme=",
            "Bearer",
            "no_credential",
        ] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        let again: Recording = serde_json::from_str(&text).unwrap();
        assert_eq!(again.checks[0].method.as_deref(), Some("GET"));
    }

    #[test]
    fn a_recording_is_bounded_in_time_and_in_size() {
        let recorder = Recorder::default();
        record_check(&recorder, START);
        assert!(
            recorder.read().is_none(),
            "there must be no recording before the start"
        );
        let recording = recorder.start(START, 100 * MINUTE);
        assert_eq!(recording.end, START.plus(MAX_DURATION));
        for _ in 0..MAX_CHECKS + 5 {
            record_check(&recorder, START.plus(SECOND));
        }
        record_check(&recorder, recording.end);
        assert!(!recorder.is_running(), "the recording must stop at its end");
        let recording = recorder.read().unwrap();
        assert_eq!((recording.checks.len(), recording.dropped), (MAX_CHECKS, 5));
        assert!(recorder.stop() && recorder.read().is_none() && !recorder.stop());
    }
}
