//! A revocation rule as a member of the sorted set of cut-offs. Equal conditions produce the same member, so the set
//! contains only one rule for them. The time of the rule is the score of the member, so a script can replace the time
//! alone.

use crate::credential::{KeyError, KeyRing, SealContext};
use crate::redis::cut_offs::log::{Member, RULE_SCORE_BASE};
use crate::redis::format::Format;
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::Timestamp;

/// The prefix of a plain member. The conditions follow as JSON. Older versions of Curfew can read only this format.
const PLAIN_PREFIX: &[u8] = b"revocation rule ";
/// The prefix of a sealed member.
const SEALED_PREFIX: &[u8] = b"sealed revocation rule ";
/// Curfew pads the conditions to a multiple of this size, to hide the length of a name.
const PADDING_BYTES: usize = 64;

/// A parsed member of the set.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::redis) enum RuleMember {
    /// A rule. The flag shows whether the rule is sealed with the first key of the ring.
    Rule(RevocationRule, bool),
    /// A sealed rule that no key of the ring decrypts.
    Undecryptable,
    /// A member of unknown format.
    Unknown,
}

/// Encodes the conditions of a rule as a member of the set at `key`.
///
/// # Errors
/// [`KeyError::Empty`] if there is no key.
pub(in crate::redis) fn encode(
    conditions: &RevocationConditions,
    format: Format,
    key: &[u8],
    key_ring: &KeyRing,
) -> Result<Vec<u8>, KeyError> {
    let mut json = serde_json::to_vec(conditions).unwrap_or_default();
    if format == Format::Plain {
        return Ok([PLAIN_PREFIX, &json].concat());
    }
    // JSON ignores trailing white space, so the padding does not change the conditions.
    json.resize(json.len().next_multiple_of(PADDING_BYTES), b' ');
    key_ring.encrypt_deterministic(seal_context(key), SEALED_PREFIX, &json)
}

/// Parses a member of the set at `key`.
pub(in crate::redis) fn parse(
    (member, score): &Member,
    key: &[u8],
    key_ring: &KeyRing,
) -> RuleMember {
    let Some(before) = score.checked_sub(RULE_SCORE_BASE) else {
        return RuleMember::Unknown;
    };
    let rule = |json: &[u8], is_current| {
        let conditions = serde_json::from_slice(json).ok()?;
        let before = Timestamp::from_millis(before);
        Some(RuleMember::Rule(
            RevocationRule { conditions, before },
            is_current,
        ))
    };
    if let Some(json) = member.strip_prefix(PLAIN_PREFIX) {
        return rule(json, false).unwrap_or(RuleMember::Unknown);
    }
    if !member.starts_with(SEALED_PREFIX) {
        return RuleMember::Unknown;
    }
    let json = key_ring.decrypt_deterministic(seal_context(key), SEALED_PREFIX.len(), member);
    let is_current = key_ring.is_sealed_with_first_key(SEALED_PREFIX.len(), member);
    json.ok()
        .and_then(|json| rule(&json, is_current))
        .unwrap_or(RuleMember::Undecryptable)
}

const fn seal_context(key: &[u8]) -> SealContext<'_> {
    SealContext {
        purpose: "revocation rule 1",
        name: key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::SigningKey;

    const KEY: &[u8] = b"curfew:not-before";

    fn ring(keys: &[char]) -> KeyRing {
        let key = |of: &char| SigningKey::parse(&of.to_string().repeat(43)).unwrap();
        KeyRing::new(keys.iter().map(key).collect()).unwrap()
    }

    fn rule(group: &str) -> RevocationRule {
        RevocationRule {
            conditions: RevocationConditions {
                group: Some(group.to_owned()),
                host: Some("app.example.com".to_owned()),
                ..RevocationConditions::default()
            },
            before: Timestamp::from_millis(77),
        }
    }

    #[test]
    fn decodes_encoded_rules_of_both_formats() {
        let (ring, rule) = (ring(&['A']), rule("staff"));
        let member = |format| encode(&rule.conditions, format, KEY, &ring).unwrap();
        for (format, is_current) in [(Format::Plain, false), (Format::Sealed, true)] {
            let member = member(format);
            assert_eq!(
                member,
                encode(&rule.conditions, format, KEY, &ring).unwrap()
            );
            assert!(
                member.len() > 16,
                "a member with 16 bytes would be a subject for an older replica"
            );
            let parsed = parse(&(member, RULE_SCORE_BASE + 77), KEY, &ring);
            assert_eq!(parsed, RuleMember::Rule(rule.clone(), is_current));
        }
        let sealed = member(Format::Sealed);
        for name in ["staff", "group", "app.example.com"] {
            let found = sealed
                .windows(name.len())
                .any(|part| part == name.as_bytes());
            assert!(!found, "{name}");
        }
        let short = encode(
            &super::tests::rule("a").conditions,
            Format::Sealed,
            KEY,
            &ring,
        );
        assert_eq!(
            short.unwrap().len(),
            sealed.len(),
            "the length should not depend on the name"
        );
    }

    #[test]
    fn a_rule_that_cannot_be_decrypted_is_reported() {
        let (ring, conditions) = (ring(&['A']), rule("staff").conditions);
        let sealed = encode(&conditions, Format::Sealed, KEY, &ring).unwrap();
        let parsed = |member: &[u8], key, keys: &[char]| {
            parse(
                &(member.to_vec(), RULE_SCORE_BASE + 1),
                key,
                &super::tests::ring(keys),
            )
        };
        let mut changed = sealed.clone();
        changed[SEALED_PREFIX.len() + 4] ^= 1;
        for (member, key, keys) in [
            (&sealed, KEY, ['E']),
            (&sealed, b"other:not-before", ['A']),
            (&changed, KEY, ['A']),
        ] {
            assert_eq!(parsed(member, key, &keys), RuleMember::Undecryptable);
        }
        assert!(matches!(
            parsed(&sealed, KEY, &['E', 'A']),
            RuleMember::Rule(_, false)
        ));
        assert_eq!(parsed(b"something else", KEY, &['A']), RuleMember::Unknown);
    }
}
