use redis::{Cmd, Pipeline, RedisResult, ScriptInvocation, Value};

use crate::redis::connection::Connection;

/// A command, pipeline or script call for Redis.
pub(in crate::redis) trait Request: Sync {
    /// Sends the request, and waits for the reply.
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
