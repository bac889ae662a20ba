//! The address for RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).

use url::Url;

use super::Provider;
use crate::login::LoginError;
use crate::session::Timestamp;

impl Provider {
    /// Returns the address for RP-initiated logout. After the logout, the provider redirects the browser to
    /// `return_url`. `None` if the provider does not support RP-initiated logout.
    ///
    /// # Errors
    /// [`LoginError::Unavailable`] if the metadata cannot be fetched.
    pub async fn end_session_url(
        &self,
        id_token: Option<&str>,
        return_url: Url,
        state: &str,
        now: Timestamp,
    ) -> Result<Option<Url>, LoginError> {
        let discovered = self.metadata_and_keys(now, false).await?;
        let Some(mut url) = discovered.metadata.end_session_endpoint.clone() else {
            return Ok(None);
        };
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", return_url.as_str())
            .append_pair("state", state);
        if let Some(id_token) = id_token {
            query.append_pair("id_token_hint", id_token);
        }
        drop(query);
        Ok(Some(url))
    }
}
