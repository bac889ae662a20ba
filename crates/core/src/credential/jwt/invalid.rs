/// A token that is not good. The text is for the log, and holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJwt {
    /// It is not a signed JWT, or one that asks for something that is not supported.
    #[error("it is not a signed JWT of a supported kind")]
    Malformed,
    /// It is larger than any that is accepted.
    #[error("it is too large")]
    TooLarge,
    /// Its algorithm is not one that the issuer may use.
    #[error("its algorithm is not one of the issuer's")]
    Algorithm,
    /// Its `typ` is not the one that was configured.
    #[error("its typ is not the one that is wanted")]
    Type,
    /// None of the issuer's keys has the id that it names.
    #[error("its key is not one of the issuer's")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// It comes from another issuer.
    #[error("it comes from another issuer")]
    Issuer,
    /// It is meant for others.
    #[error("it is meant for another audience")]
    Audience,
    /// It has expired, or has no end.
    #[error("it has expired")]
    Expired,
    /// It is not good yet, or was issued in the future.
    #[error("it is not good yet")]
    NotYet,
    /// It does not say when its user signed in, and its issuer is not one whose `iat` counts.
    #[error("it has no auth_time")]
    NoAuthTime,
    /// The email address is the subject, and the provider has not verified it.
    #[error("its subject is an email address that the provider has not verified")]
    UnverifiedEmail,
    /// It does not say whose it is, or something that can't be a subject or an attribute.
    #[error("it does not properly say whose it is")]
    Subject,
}
