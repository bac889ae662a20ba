use redis::aio::ConnectionManager;
use redis::{RedisError, Script};

use crate::session::Timestamp;

/// The compare-and-replace script, `migrations/0001_replace.lua`.
pub(super) struct Replace(Script);

impl Replace {
    pub(super) fn new() -> Self {
        Self(Script::new(include_str!(
            "../../../migrations/0001_replace.lua"
        )))
    }

    /// Replaces `expected` by `record`, which expires at `expiry`; says whether it did. Loads the
    /// script where the server does not know it (any more).
    pub(super) async fn invoke(
        &self,
        connection: &mut ConnectionManager,
        key: &[u8],
        expected: &[u8],
        expected_expiry: Option<Timestamp>,
        record: &[u8],
        expiry: Timestamp,
    ) -> Result<bool, RedisError> {
        let expected_expiry =
            expected_expiry.map_or_else(String::new, |at| at.as_millis().to_string());
        self.0
            .key(key)
            .arg(expected)
            .arg(expected_expiry)
            .arg(record)
            .arg(expiry.as_millis())
            .invoke_async(connection)
            .await
    }
}
