use redis::{Cmd, Pipeline, RedisResult, ScriptInvocation, Value};

use super::connection::Connection;

/// Something to send to Redis, and to be answered.
pub(super) trait Request: Sync {
    /// Sends it, and waits for the answer.
    fn send(&self, connection: &mut Connection) -> impl Future<Output = RedisResult<Value>> + Send;
}

impl Request for Cmd {
    async fn send(&self, connection: &mut Connection) -> RedisResult<Value> {
        self.query_async(connection).await
    }
}

impl Request for Pipeline {
    async fn send(&self, connection: &mut Connection) -> RedisResult<Value> {
        self.query_async(connection).await
    }
}

impl Request for ScriptInvocation<'_> {
    async fn send(&self, connection: &mut Connection) -> RedisResult<Value> {
        self.invoke_async(connection).await
    }
}
