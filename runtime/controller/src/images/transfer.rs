//! What every pull, import and export has in common: it ends by itself, whoever asked for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedRwLockReadGuard, oneshot};

use super::{ImageError, Images, Inner};

/// Something is in the store that no name leads to yet, and is not collected. The last of those who hold this
/// has garbage collected.
#[derive(Debug)]
pub(super) struct Unnamed {
    images: Images,
    guard: Option<OwnedRwLockReadGuard<()>>,
}

impl Unnamed {
    pub(super) fn new(images: Images, guard: OwnedRwLockReadGuard<()>) -> Self {
        Self { images, guard: Some(guard) }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        drop(self.guard.take());
        tokio::spawn(self.images.clone().collect_garbage());
    }
}

/// Whoever asked for a transfer, who may go away.
#[derive(Debug)]
pub(super) struct Caller {
    flag: Arc<AtomicBool>,
    gone: oneshot::Receiver<()>,
}

impl Caller {
    /// Becomes true, for threads that may block.
    pub(super) fn went_away(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Does `work` for as long as the caller is there. It has to be such that it can be dropped.
    pub(super) async fn while_there<T>(
        &mut self,
        work: impl Future<Output = Result<T, ImageError>>,
    ) -> Result<T, ImageError> {
        tokio::select! {
            done = work => done,
            _ = &mut self.gone => Err(ImageError::GivenUp),
        }
    }
}

/// Kept by whoever waits for a transfer.
struct There {
    flag: Arc<AtomicBool>,
    _told_when_dropped: oneshot::Sender<()>,
}

impl Drop for There {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

impl Images {
    /// Does `work` in a task of its own, in its turn. Where the future of this is dropped, the task hears of it,
    /// and ends where nothing is left half done.
    pub(super) async fn transfer<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<Inner>, Arc<Unnamed>, Caller) -> F + Send + 'static,
    ) -> Result<T, ImageError>
    where
        F: Future<Output = Result<T, ImageError>> + Send,
    {
        let flag = Arc::new(AtomicBool::new(false));
        let (told, gone) = oneshot::channel();
        let there = There { flag: Arc::clone(&flag), _told_when_dropped: told };
        let mut caller = Caller { flag, gone };
        let images = self.clone();
        let task = tokio::spawn(async move {
            if *images.inner.draining.borrow() {
                return Err(ImageError::Draining);
            }
            let turn = async { images.inner.transfers.acquire().await.map_err(|_| ImageError::Draining) };
            let _turn = caller.while_there(turn).await?;
            let guard = Arc::clone(&images.inner.unnamed).read_owned().await;
            let unnamed = Arc::new(Unnamed::new(images.clone(), guard));
            work(Arc::clone(&images.inner), unnamed, caller).await
        });
        let done = task.await.map_err(ImageError::Task)?;
        drop(there);
        done
    }
}
