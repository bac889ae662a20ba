/// The reason why a token is invalid. The error text is for the log, and contains no part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwt {
    /// The text is not a signed JWT, or it requires an unsupported extension.
    #[error("not a signed JWT of a supported type")]
    Malformed,
    /// The token exceeds the maximum length.
    #[error("token too large")]
    TooLarge,
    /// The configuration does not allow this algorithm for the issuer.
    #[error("the signature algorithm is not in `algorithms` of this issuer")]
    Algorithm,
    /// The `typ` header does not fit the purpose of the token, or the token has an `events` claim.
    #[error("token for another purpose: unexpected `typ` header, or unexpected `events` claim")]
    Type,
    /// No key of the issuer fits the key ID and the algorithm of the token.
    #[error("the issuer has no key with the key ID and the algorithm of the token")]
    UnknownKey,
    /// The signature does not match.
    #[error("invalid signature")]
    Signature,
    /// The token is from another issuer.
    #[error("unexpected issuer")]
    Issuer,
    /// The token is for another audience.
    #[error("unexpected audience")]
    Audience,
    /// The token has expired, or has no expiry.
    #[error("expired, or without `exp`")]
    Expired,
    /// The token is not valid yet, or its issue time or authentication time is in the future.
    #[error("not valid yet: `nbf`, `iat` or `auth_time` is in the future")]
    NotYetValid,
    /// The ID token has no `iat`.
    #[error("missing `iat`")]
    NoIssueTime,
    /// The ID token has no nonce, or the nonce of another attempt.
    #[error("missing nonce, or nonce of another attempt")]
    Nonce,
    /// The token has no `auth_time`, and the configuration does not accept `iat` for this issuer.
    #[error("missing `auth_time`")]
    NoAuthTime,
    /// The subject is an email address that the provider has not verified.
    #[error("unverified email address as subject")]
    UnverifiedEmail,
    /// The subject is missing or invalid, or a claim is not valid as an attribute.
    #[error("missing or invalid subject, or a claim that is not valid as an attribute")]
    Subject,
}
