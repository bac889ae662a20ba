use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::RedisStore;
use crate::redis::scan::{self, Walk};
use crate::{Batch, SessionWalk, StoreError};

#[async_trait]
impl SessionWalk for RedisStore {
    async fn walk(&self, batches: mpsc::Sender<Batch>) -> Result<(), StoreError> {
        let this = self.with_background_timeout();
        let mut connection = this.managed_connection.acquire(this.budget).await?;
        for server in scan::read_servers(&mut connection).await? {
            let mut walk = Walk::new(connection.clone(), &this.keys, &server, None);
            while let Some(found) = walk.next().await? {
                let mut batch = Batch::default();
                let loads = found.sessions.iter().map(|id| this.read_record(*id));
                for (id, loaded) in found.sessions.iter().zip(join_all(loads).await) {
                    match loaded {
                        Ok(stored) => {
                            let session = stored.map(|stored| (*id, stored.session));
                            batch.sessions.extend(session);
                        }
                        Err(StoreError::Unreadable(_)) => batch.unreadable += 1,
                        Err(error) => return Err(error),
                    }
                }
                if batches.send(batch).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
