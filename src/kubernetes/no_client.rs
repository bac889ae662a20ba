//! Takes the place of the client in a program without the Cargo feature `kubernetes`. The configuration of such a program
//! cannot enable anything that needs the client.

use std::path::Path;

use serde_json::Value;
use url::Url;

use super::KubernetesError;

/// There is no client.
#[derive(Debug, thiserror::Error)]
#[error("this program was built without the Cargo feature `kubernetes`")]
pub struct ClientError;

/// A client that cannot exist.
pub enum Client {}

impl Client {
    /// Fails.
    ///
    /// # Errors
    /// Always [`ClientError`].
    pub const fn new(_: &Url, _: Option<&Path>, _: Option<&Path>) -> Result<Self, ClientError> {
        Err(ClientError)
    }

    pub(super) async fn post<T>(&self, _: &str, _: &Value) -> Result<T, KubernetesError> {
        match *self {}
    }
}
