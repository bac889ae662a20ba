use std::time::Duration;

use super::Timestamp;

/// The state of revalidation: when the identity provider last confirmed the session, and when Curfew may ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidation {
    /// The OAuth client that the refresh token was issued to.
    pub registration: Registration,
    /// When the provider last confirmed the session: at the sign-in, or with a refresh.
    pub confirmed: Timestamp,
    /// No replica asks the provider before this time, because one replica is already asking the provider, or asked a
    /// moment ago and received no answer.
    pub leased_until: Timestamp,
    /// The claims that the ID token of the sign-in contained.
    pub in_id_token: ClaimsInToken,
}

impl Revalidation {
    /// The time of the next request to the provider, if Curfew sends one request per `interval`.
    #[must_use]
    pub fn due(&self, interval: Duration) -> Timestamp {
        self.confirmed.plus(interval).max(self.leased_until)
    }

    /// Moves `confirmed` and `leased_until` into the past by the duration `by`.
    pub(super) fn age(&mut self, by: Duration) {
        self.confirmed = self.confirmed.minus(by);
        self.leased_until = self.leased_until.minus(by);
    }
}

/// An OAuth client at an identity provider: a hash of the issuer and the client ID. A refresh token is valid only for
/// the client that it was issued to (RFC 6749 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration([u8; Self::LEN]);

impl Registration {
    /// The length of the hash in bytes.
    pub const LEN: usize = 8;

    /// Restores a registration from the hash in the store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash, for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// For each of three claims, whether the ID token contains it. A claim that the ID token lacks comes from the UserInfo
/// endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimsInToken {
    /// The claim that is configured as the subject.
    pub subject: bool,
    /// The claim that is configured for the groups.
    pub groups: bool,
    /// The claim that is configured for the email address.
    pub email: bool,
}

impl ClaimsInToken {
    const SUBJECT: u8 = 1;
    const GROUPS: u8 = 2;
    const EMAIL: u8 = 4;

    /// Whether the ID token contains all three claims. If so, Curfew does not need the UserInfo endpoint.
    #[must_use]
    pub const fn are_all(self) -> bool {
        self.subject && self.groups && self.email
    }

    /// The claims as a bit mask, for the record.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        (self.subject as u8 * Self::SUBJECT)
            | (self.groups as u8 * Self::GROUPS)
            | (self.email as u8 * Self::EMAIL)
    }

    /// Restores the claims from a bit mask, and ignores unknown bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self {
            subject: bits & Self::SUBJECT != 0,
            groups: bits & Self::GROUPS != 0,
            email: bits & Self::EMAIL != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_request_waits_for_the_interval_and_for_leased_until() {
        let minute = Duration::from_secs(60);
        let start = Timestamp::from_millis(1_800_000_000_000);
        let mut revalidation = Revalidation {
            registration: Registration::from_bytes([7; 8]),
            confirmed: start,
            leased_until: Timestamp::default(),
            in_id_token: ClaimsInToken::default(),
        };
        assert_eq!(revalidation.due(5 * minute), start.plus(5 * minute));
        revalidation.leased_until = start.plus(6 * minute);
        assert_eq!(revalidation.due(5 * minute), start.plus(6 * minute));
        revalidation.age(minute);
        assert_eq!(revalidation.due(5 * minute), start.plus(5 * minute));
    }

    #[test]
    fn each_claim_has_a_bit() {
        for bits in 0..8 {
            let claims = ClaimsInToken::from_bits(bits);
            assert_eq!(claims.to_bits(), bits);
            assert_eq!(claims.are_all(), bits == 7);
        }
        assert_eq!(ClaimsInToken::from_bits(0xf8), ClaimsInToken::default());
    }
}
