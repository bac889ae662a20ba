//! Streams of allowed requests.

use std::sync::Arc;

use http::HeaderMap;

use super::{CheckRequest, Checker, MatchError, Original, OriginalUrl, RuleMatch};
use crate::policy::{AppliedPolicy, Rulebook};
use crate::session::{DenyReason, Session, SessionId, allowed_until};
use crate::streams::{OpenStreams, StreamGuard, StreamLimits, StreamTarget, StreamTerms};

/// The registry of open streams, with its limits.
#[derive(Clone)]
pub struct StreamRegistry {
    /// The open streams of this replica.
    pub streams: Arc<OpenStreams>,
    /// The limits on open streams.
    pub limits: StreamLimits,
}

impl Checker {
    /// Registers the stream of a request that was allowed with this session. The caller relays the stream, and ends it
    /// when it is cut.
    ///
    /// # Errors
    /// The reason why the request is denied: `overloaded` if a limit on open streams is reached. A reload of the
    /// configuration during the request can cause other reasons.
    pub fn open_stream(
        &self,
        request: &CheckRequest<'_>,
        id: SessionId,
        session: &Session,
    ) -> Result<StreamGuard, DenyReason> {
        let original = request.original.map_err(|_| DenyReason::MalformedRequest)?;
        let target = StreamTarget {
            contract: request.contract,
            policy: request.policy.map(str::to_owned),
            method: original.method.clone(),
            secure: original.url.secure,
            host: original.url.host.to_owned(),
            path: original.url.path.to_vec(),
            client: self.client(request),
            subject: session.user_id().to_owned(),
        };
        let home = self.rulebook.policies.home(session);
        let terms = match_stream(&self.rulebook, &target)?.stream_terms(&home, session);
        let StreamRegistry { streams, limits } = &self.stream_registry;
        streams
            .open((id, session.clone()), target, terms, *limits)
            .map_err(|_| DenyReason::Overloaded)
    }
}

/// Finds the rule and the policies that apply to the request of an open stream.
///
/// # Errors
/// The reason why the request would now be denied.
pub fn match_stream<'a>(
    rulebook: &'a Rulebook,
    target: &'a StreamTarget,
) -> Result<RuleMatch<'a>, DenyReason> {
    let url = OriginalUrl::from_parts(target.secure, target.host.as_bytes(), &target.path);
    let original = Original::new(
        &target.method,
        url.map_err(|_| DenyReason::MalformedRequest)?,
    );
    // A rule reads headers only to find public preflights, and a public request has no registered stream.
    let headers = HeaderMap::new();
    let policy = target.policy.as_deref();
    RuleMatch::find(rulebook, target.contract, policy, &original, &headers)
        .map_err(MatchError::reason)
}

impl RuleMatch<'_> {
    /// Returns the terms of a stream whose request is allowed.
    #[must_use]
    pub fn stream_terms(&self, home: &AppliedPolicy<'_>, session: &Session) -> StreamTerms {
        StreamTerms {
            deadline: allowed_until(session, &home.limits, &self.limits(home, session)),
            settings: self.stream_settings(home),
            touch_interval: self.touch_interval(home),
        }
    }
}
