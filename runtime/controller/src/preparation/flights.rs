use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use dormouse_spec::Digest;
use tokio::sync::OwnedMutexGuard;

/// Lets one at a time prepare what has the same key.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights {
    turns: Arc<Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Flights {
    /// Waits for those that came before. Whoever waited looks again at what they left.
    pub(super) async fn turn(&self, key: Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let there = turns.get(&key).and_then(Weak::upgrade);
            there.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(key, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_key_waits_and_another_does_not() {
        let flights = Flights::default();
        let [one, other] = [1, 2].map(|byte| Digest::from_sha256([byte; 32]));
        let first = flights.turn(one).await;
        drop(flights.turn(other).await);
        let mut second = tokio::spawn({
            let flights = flights.clone();
            async move { drop(flights.turn(one).await) }
        });
        tokio::select! {
            biased;
            _ = &mut second => panic!("both fly"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        assert!(second.await.is_ok());
    }
}
