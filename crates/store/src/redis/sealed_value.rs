//! A value in Redis that replicas share. The value is encrypted. A replica replaces the value only if no other
//! replica has changed it since the replica read it.

use redis::{RedisResult, Script};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::Connection;
use crate::credential::KeyRing;
use crate::live::Live;

/// An encrypted value at one key.
pub(super) struct SealedValue {
    key: Vec<u8>,
    /// The purpose and the version of the value. The encryption is bound to this text.
    purpose: &'static str,
    key_ring: Live<KeyRing>,
    swap: Script,
}

/// A value and its encrypted bytes. The bytes are empty if there is no value.
pub(super) struct StoredValue<T> {
    bytes: Vec<u8>,
    /// `None` if there is no value, or if no key of the ring decrypts it.
    pub(super) value: Option<T>,
}

impl SealedValue {
    /// Creates access to the value at `key`. `swap` is the Lua script that replaces a value.
    pub(super) fn new(
        key: Vec<u8>,
        purpose: &'static str,
        key_ring: Live<KeyRing>,
        swap: &str,
    ) -> Self {
        Self {
            key,
            purpose,
            key_ring,
            swap: Script::new(swap),
        }
    }

    /// Reads the value.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
    ) -> RedisResult<StoredValue<T>> {
        let mut get = redis::cmd("GET");
        let bytes: Option<Vec<u8>> = get.arg(&self.key).query_async(connection).await?;
        let value = bytes.as_ref().and_then(|bytes| self.decode(bytes));
        Ok(StoredValue {
            bytes: bytes.unwrap_or_default(),
            value,
        })
    }

    /// Replaces the value `found`. Returns `false` if another replica has changed the value since it was read.
    pub(super) async fn replace<T: Serialize>(
        &self,
        connection: &mut Connection,
        found: &StoredValue<T>,
        value: &T,
    ) -> RedisResult<bool> {
        let Some(bytes) = self.encode(value) else {
            return Ok(false);
        };
        let mut swap = self.swap.key(&self.key);
        swap.arg(&found.bytes)
            .arg(bytes)
            .invoke_async(connection)
            .await
    }

    fn encode(&self, value: &impl Serialize) -> Option<Vec<u8>> {
        let plain = postcard::to_stdvec(value).ok()?;
        let key_ring = self.key_ring.current();
        let text = key_ring.encrypt_text(self.purpose, &plain).ok()?;
        Some(text.into_bytes())
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Option<T> {
        let text = std::str::from_utf8(bytes).ok()?;
        let Ok(plain) = self.key_ring.current().decrypt_text(self.purpose, text) else {
            let of = self.purpose;
            tracing::warn!(
                of,
                "could not decrypt a value in Redis with token.keys; replacing the value"
            );
            return None;
        };
        postcard::from_bytes(&plain).ok()
    }
}
