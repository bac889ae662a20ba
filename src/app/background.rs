use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RunError;

/// The background tasks. If a task ends before the process is asked to stop, the process stops with an error.
pub(super) struct Background {
    pub(super) tasks: JoinSet<Result<(), RunError>>,
    pub(super) stop: CancellationToken,
}

impl Background {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop,
        }
    }

    /// Spawns the future that `work` returns. The future must run until the token is cancelled.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        work: impl FnOnce(CancellationToken) -> F,
    ) {
        let future = work(self.stop.clone());
        self.tasks.spawn(async move {
            future.await;
            Ok(())
        });
    }
}
