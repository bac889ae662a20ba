//! Sessions that another authorization service knows: what it is asked, and what its answer says.

mod answer;
mod ask;
mod key;

use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use answer::{Allowed, Unusable};
pub use ask::Question;
pub use key::SessionKey;

use crate::policy::MaxAge;

/// Another authorization service, and how its answers are read.
#[derive(Clone, Debug)]
pub struct Delegated {
    /// Its name in the configuration.
    pub name: String,
    /// What names a session.
    pub key: SessionKey,
    /// The header of its answers that holds the subject.
    pub user: HeaderName,
    /// The header that holds the subject's groups.
    pub groups: Option<HeaderName>,
    /// What stands between two groups.
    pub groups_separator: char,
    /// The header that holds the subject's email address.
    pub email: Option<HeaderName>,
    /// The header that holds the subject's name for people.
    pub display_name: Option<HeaderName>,
    /// The header that holds a token of the identity provider.
    pub token: Option<HeaderName>,
    /// The header that says when the subject authenticated; the token says it where there is none.
    pub auth_time: Option<HeaderName>,
    /// How long ago the subject may have authenticated when a session starts.
    pub max_age: MaxAge,
    /// Which headers of the client it is told, besides the usual ones.
    pub forward: Vec<HeaderName>,
    /// Which headers of its answer the backend is told.
    pub pass: Vec<HeaderName>,
    /// How long its sessions can live after a sign-in.
    pub lifetime: Duration,
    /// What makes the client drop its cookie.
    pub cleared_cookie: Option<HeaderValue>,
}
