use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::{RawUrl, TextList};

/// Other authorization services that Curfew asks during a check.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawDelegated {
    /// The timeout for one request to a service.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// The services; the key is a name of your choice.
    pub services: BTreeMap<String, RawService>,
}

/// Another authorization service.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawService {
    /// `oauth2-proxy` or `authelia`: sets the keys below that are not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["oauth2-proxy", "authelia", null]))]
    pub preset: Option<String>,
    /// The address of the authorization request.
    #[schemars(with = "String")]
    pub url: RawUrl,
    /// A PEM file with the CAs to trust for this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The hosts that this service is responsible for; if omitted, all hosts that no other service
    /// names.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub hosts: TextList<String>,
    /// The service's cookie that identifies a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie: Option<String>,
    /// Delimiter: only the part of the cookie before it identifies the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_delimiter: Option<char>,
    /// The `Domain` of the cookie, needed to delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_domain: Option<String>,
    /// The `Path` of the cookie, needed to delete it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_cookie_path: Option<String>,
    /// The response header that identifies a session, instead of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_header: Option<String>,
    /// The claim of the token in `token_header` that identifies a session, instead of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_claim: Option<String>,
    /// The response header with a token of the identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_header: Option<String>,
    /// The response header with the time when the subject authenticated, instead of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time_header: Option<String>,
    /// The maximum age of the subject's authentication when a session starts: a duration, `idle` for the idle limit, or
    /// `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// The response header with the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_header: Option<String>,
    /// The response header with the subject's groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_header: Option<String>,
    /// The separator between groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_separator: Option<char>,
    /// The response header with the subject's email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_header: Option<String>,
    /// The response header with the subject's display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_header: Option<String>,
    /// Additional client headers that Curfew forwards to the service.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub forward_headers: TextList<String>,
    /// Response headers that Curfew passes to the backend.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub pass_headers: TextList<String>,
    /// The longest lifetime of the service's sessions after a sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub lifetime: Option<String>,
    /// The home policy of sessions from this service.
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
