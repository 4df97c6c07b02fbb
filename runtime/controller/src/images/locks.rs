use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use dormouse_spec::Digest;
use tokio::sync::OwnedMutexGuard;

/// One lock for each blob that somebody works on.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    pub(super) async fn lock(&self, digest: Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(&digest).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(digest, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
