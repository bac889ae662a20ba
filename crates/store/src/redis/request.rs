use redis::{Cmd, Pipeline, RedisResult, ScriptInvocation, Value};

use super::wire::Wire;

/// Something to send to Redis, and to be answered.
pub(super) trait Request: Sync {
    /// Sends it, and waits for the answer.
    fn send(&self, wire: &mut Wire) -> impl Future<Output = RedisResult<Value>> + Send;
}

impl Request for Cmd {
    async fn send(&self, wire: &mut Wire) -> RedisResult<Value> {
        self.query_async(wire).await
    }
}

impl Request for Pipeline {
    async fn send(&self, wire: &mut Wire) -> RedisResult<Value> {
        self.query_async(wire).await
    }
}

impl Request for ScriptInvocation<'_> {
    async fn send(&self, wire: &mut Wire) -> RedisResult<Value> {
        self.invoke_async(wire).await
    }
}
