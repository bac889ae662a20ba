use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::{RawUrl, TextList};

/// Other authorization services, which are asked before Curfew answers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawDelegated {
    /// The most time for one question.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// The services, each by a name of your own.
    pub services: BTreeMap<String, RawService>,
}

/// Another authorization service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawService {
    /// `oauth2-proxy` or `authelia`: what is not given below is as it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["oauth2-proxy", "authelia", null]))]
    pub preset: Option<String>,
    /// Where it is asked.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// A PEM file with the authorities to trust for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The hosts that it is asked about; all that no other service is for when left out.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub hosts: TextList<String>,
    /// The cookie that names a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie: Option<String>,
    /// The character that ends what counts of the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_until: Option<char>,
    /// The `Domain` of the cookie, to have the client drop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_domain: Option<String>,
    /// The `Path` of the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_path: Option<String>,
    /// The header of its answers that names a session, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_header: Option<String>,
    /// The claim of the token in `token_header` that names a session, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_claim: Option<String>,
    /// The header of its answers with a token of the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
    /// The header of its answers that says when the subject authenticated, in place of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time_header: Option<String>,
    /// How long ago the subject may have authenticated when a session starts: a duration, `idle` for the idle limit, or
    /// `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// The header of its answers that is the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_header: Option<String>,
    /// The header with the subject's groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_header: Option<String>,
    /// What stands between two groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_separator: Option<char>,
    /// The header with the subject's email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_header: Option<String>,
    /// The header with the subject's name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_header: Option<String>,
    /// Headers of the client that it is told, besides the usual ones.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub forward_headers: TextList<String>,
    /// Headers of its answers that the backend is told.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub pass_headers: TextList<String>,
    /// How long its sessions can live after a sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub lifetime: Option<String>,
    /// The home policy of the sessions that it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Default for RawDelegated {
    fn default() -> Self {
        Self {
            timeout: "1s".to_owned(),
            services: BTreeMap::new(),
        }
    }
}
