/// The kinds of audit events: the values of `event.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A session started.
    SessionCreated,
    /// A session ended.
    SessionEnded,
    /// A caller of the admin API moved the times of a session back. Only test installations allow this.
    SessionAged,
    /// An identity provider sent new attributes for a session.
    SessionChanged,
    /// A session ended because its subject signed in again and exceeded `max_sessions`.
    SessionDisplaced,
    /// All sessions of a subject that started before a certain time were ended.
    SubjectRevoked,
    /// An emergency revocation was declared.
    RevocationDeclared,
    /// The sessions of an emergency revocation were ended one by one.
    RevocationFinished,
    /// An identity provider ended sessions with a notice: a logout token or a security event.
    ProviderLogout,
    /// An identity provider no longer confirms a session, so Curfew ended it.
    ProviderRefused,
    /// A sign-in with an identity provider failed.
    LoginRefused,
    /// An operator signed in to the console.
    ConsoleEntered,
    /// A sign-in to the console was refused.
    ConsoleRefused,
    /// A credential for the admin API was refused.
    AdminUnauthenticated,
    /// A user of Kubernetes used the admin API.
    AdminAllowed,
    /// A caller of the admin API, or an operator, lacks a right.
    AdminRefused,
    /// After a fail-over of the store, an ended session was live again, and Curfew ended it again.
    SessionEndRestored,
    /// A request was allowed while the store was unavailable.
    SessionDegraded,
    /// A bound session was used from another network or browser.
    SessionBindingMismatch,
    /// An open stream, such as a WebSocket, was cut.
    StreamCut,
    /// A request was denied.
    SessionDenied,
    /// Many requests were denied in the same second. This event counts the denials that have no event of their own.
    DenialsAggregated,
    /// An object of the Kubernetes cluster changed limits.
    PolicyChanged,
    /// A recording, which is a copy of the checks that proxies send, was started.
    RecordingStarted,
    /// A recording was read, or stopped.
    RecordingUsed,
}

impl AuditAction {
    /// All actions.
    pub const ALL: [Self; 25] = [
        Self::SessionCreated,
        Self::SessionEnded,
        Self::SessionAged,
        Self::SessionChanged,
        Self::SessionDisplaced,
        Self::SubjectRevoked,
        Self::RevocationDeclared,
        Self::RevocationFinished,
        Self::ProviderLogout,
        Self::ProviderRefused,
        Self::LoginRefused,
        Self::ConsoleEntered,
        Self::ConsoleRefused,
        Self::AdminUnauthenticated,
        Self::AdminAllowed,
        Self::AdminRefused,
        Self::SessionEndRestored,
        Self::SessionDegraded,
        Self::SessionBindingMismatch,
        Self::StreamCut,
        Self::SessionDenied,
        Self::DenialsAggregated,
        Self::PolicyChanged,
        Self::RecordingStarted,
        Self::RecordingUsed,
    ];

    /// Returns the value of `event.action`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionCreated => "session.created",
            Self::SessionEnded => "session.ended",
            Self::SessionAged => "session.aged",
            Self::SessionChanged => "session.changed",
            Self::SessionDisplaced => "session.displaced",
            Self::SubjectRevoked => "subject.revoked",
            Self::RevocationDeclared => "revocation.declared",
            Self::RevocationFinished => "revocation.finished",
            Self::ProviderLogout => "provider.logout",
            Self::ProviderRefused => "provider.refused",
            Self::LoginRefused => "login.refused",
            Self::ConsoleEntered => "console.entered",
            Self::ConsoleRefused => "console.refused",
            Self::AdminUnauthenticated => "admin.unauthenticated",
            Self::AdminAllowed => "admin.allowed",
            Self::AdminRefused => "admin.refused",
            Self::SessionEndRestored => "session.end_restored",
            Self::SessionDegraded => "session.degraded",
            Self::SessionBindingMismatch => "session.binding_mismatch",
            Self::StreamCut => "stream.cut",
            Self::SessionDenied => "session.denied",
            Self::DenialsAggregated => "denials.aggregated",
            Self::PolicyChanged => "policy.changed",
            Self::RecordingStarted => "recording.started",
            Self::RecordingUsed => "recording.used",
        }
    }
}
