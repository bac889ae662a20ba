use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::RawAdmin;
use crate::config::mistakes::{Invalid, Mistakes, Valid, lines_without_comments};
use crate::config::schema_types;
use crate::config::text::TextList;
use crate::credential::{NamedToken, Right};

/// Admin tokens: a list, or one string with hashes separated by commas or white space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AdminTokenList(pub Vec<RawAdminToken>);

/// An admin token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RawAdminToken {
    /// A hash without a name. The token has all rights.
    Unnamed(String),
    /// A hash with a name and rights.
    Named(RawNamedToken),
}

/// An admin token with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawNamedToken {
    /// The name in audit events.
    pub name: String,
    /// The SHA-256 hash of the token, in hexadecimal.
    pub hash: String,
    /// The rights of the token: `read`, `revoke`, `create`.
    #[schemars(with = "schema_types::StringList")]
    pub allow: TextList<String>,
}

impl<'de> Deserialize<'de> for RawAdminToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TokenVisitor;

        impl<'de> Visitor<'de> for TokenVisitor {
            type Value = RawAdminToken;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hash, or a name, a hash and rights")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(text.to_owned()))
            }

            // YAML parses a hash as a number if it has only digits.
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(RawAdminToken::Unnamed(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let named = RawNamedToken::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawAdminToken::Named(named))
            }
        }

        deserializer.deserialize_any(TokenVisitor)
    }
}

impl<'de> Deserialize<'de> for AdminTokenList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Vec<RawAdminToken>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of admin tokens, or one string with hashes separated by commas")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                let hashes = text.split([',', ' ', '\t', '\n']);
                let hashes = hashes.filter(|hash| !hash.is_empty()).map(str::to_owned);
                Ok(hashes.map(RawAdminToken::Unnamed).collect())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = seq.next_element()? {
                    tokens.push(token);
                }
                Ok(tokens)
            }
        }

        deserializer.deserialize_any(ListVisitor).map(Self)
    }
}

const LIST_KEY: &str = "admin.token_hashes";
const FILE_KEY: &str = "admin.token_hashes_file";
const HASH_HINT: &str = "must be SHA-256 hashes of 64 hexadecimal digits; `curfew keygen --admin` makes a token and its hash";
const RIGHTS_HINT: &str = "a list of `read`, `revoke` and `create`, at least one of them";

/// Parses the admin tokens of the list and of the file. Each has a name and rights.
pub(super) fn parse(
    raw: &RawAdmin,
    is_embedded: bool,
    mistakes: &mut Mistakes,
) -> Valid<Vec<NamedToken>> {
    let file = match &raw.token_hashes_file {
        Some(path) => mistakes.read_text_file(FILE_KEY, path)?,
        None => String::new(),
    };
    let mut tokens = Vec::new();
    let mut is_complete = true;
    for (index, token) in raw.token_hashes.0.iter().enumerate() {
        let (key, token) = match token {
            RawAdminToken::Unnamed(hash) => {
                (LIST_KEY.to_owned(), parse_unnamed(LIST_KEY, hash, mistakes))
            }
            RawAdminToken::Named(raw) => {
                let key = format!("{LIST_KEY}.{index}");
                let token = parse_named(&key, raw, mistakes);
                (key, token)
            }
        };
        is_complete &= token.is_ok_and(|token| add_token(&mut tokens, &key, token, mistakes));
    }
    for line in lines_without_comments(&file) {
        let token = parse_line(line, mistakes);
        is_complete &= token.is_ok_and(|token| add_token(&mut tokens, FILE_KEY, token, mistakes));
    }
    if is_complete && tokens.is_empty() && !is_embedded && !raw.kubernetes.enabled {
        mistakes.add(
            LIST_KEY,
            "is missing: nobody could use the admin API. `curfew keygen --admin` makes a token \
             and the hash that belongs here",
        );
    }
    if is_complete {
        Ok(tokens)
    } else {
        Err(Invalid)
    }
}

fn parse_unnamed(key: &str, hash: &str, mistakes: &mut Mistakes) -> Valid<NamedToken> {
    let hash = mistakes.record_error(key, parse_hash(hash).ok_or(HASH_HINT))?;
    Ok(NamedToken::unnamed(hash))
}

fn parse_named(key: &str, raw: &RawNamedToken, mistakes: &mut Mistakes) -> Valid<NamedToken> {
    let name = if NamedToken::is_valid_name(&raw.name) {
        Ok(raw.name.clone())
    } else {
        mistakes.reject(
            format!("{key}.name"),
            "must be 1 to 64 letters, digits, `.`, `-` or `_`, such as \"deploy-job\"",
        )
    };
    let hash = mistakes.record_error(
        &format!("{key}.hash"),
        parse_hash(&raw.hash).ok_or(HASH_HINT),
    );
    if raw.allow.is_empty() {
        return mistakes.reject(
            format!("{key}.allow"),
            format!("is missing or empty: write {RIGHTS_HINT}"),
        );
    }
    let mut rights = Vec::new();
    for word in &raw.allow.0 {
        let Some(right) = Right::from_name(word) else {
            return mistakes.reject(
                format!("{key}.allow"),
                format!(
                    "\"{}\" is not a right: write {RIGHTS_HINT}",
                    word.escape_debug()
                ),
            );
        };
        rights.push(right);
    }
    Ok(NamedToken {
        name: name?,
        hash: hash?,
        rights,
    })
}

/// Parses a line of the file: a hash alone, or a hash, a name and comma-separated rights. An error message never
/// quotes the line, because a user can paste a token instead of its hash.
fn parse_line(line: &str, mistakes: &mut Mistakes) -> Valid<NamedToken> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let token = match words[..] {
        [hash] => return parse_unnamed(FILE_KEY, hash, mistakes),
        [hash, name, rights] => parse_hash(hash).and_then(|hash| {
            let rights: Option<Vec<Right>> = rights.split(',').map(Right::from_name).collect();
            NamedToken::is_valid_name(name).then_some(())?;
            Some(NamedToken {
                name: name.to_owned(),
                hash,
                rights: rights?,
            })
        }),
        _ => None,
    };
    let message = "has an invalid line: write a hash alone, or a hash, a name and rights, such as `3f…9c deploy-job read,revoke`";
    mistakes.record_error(FILE_KEY, token.ok_or(message))
}

/// Adds a token. Returns false if its name or hash conflicts with an earlier token.
fn add_token(
    tokens: &mut Vec<NamedToken>,
    key: &str,
    token: NamedToken,
    mistakes: &mut Mistakes,
) -> bool {
    // The same hash in the list and in the file is not a conflict.
    if tokens.contains(&token) {
        return true;
    }
    let field = |name: &str| {
        let is_list_item = key
            .strip_prefix(LIST_KEY)
            .is_some_and(|rest| !rest.is_empty());
        if is_list_item {
            format!("{key}.{name}")
        } else {
            key.to_owned()
        }
    };
    if tokens.iter().any(|other| other.name == token.name) {
        let text = format!(
            "\"{}\" is also the name of another token: names must be unique",
            token.name
        );
        mistakes.add(field("name"), text);
        return false;
    }
    if let Some(other) = tokens.iter().find(|other| other.hash == token.hash) {
        let text = format!(
            "is also the hash of \"{}\": give each name its own token",
            other.name
        );
        mistakes.add(field("hash"), text);
        return false;
    }
    tokens.push(token);
    true
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(hash)
}
