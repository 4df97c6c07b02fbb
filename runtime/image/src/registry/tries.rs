use std::time::Duration;

use dormouse_spec::ImageReference;
use tokio::time::sleep;
use tracing::debug;

use super::{Content, Failure, RegistryError, RegistrySettings, origin::Origin};

/// New bytes of a blob after which a connection that breaks is a long download's bad luck, and no
/// reason to give up: attempts are counted anew.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;

/// Where something is read from next, and when that is over: mirrors once each, then the registry
/// as often as the settings allow.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    image: &'a ImageReference,
    content: Content,
    settings: &'a RegistrySettings,
    mirrors: &'a [Origin],
    registry: &'a Origin,
    attempts: u32,
    /// The most bytes that were there at the end of an attempt. Never lowered: a registry that
    /// begins anew each time makes no progress.
    furthest: u64,
}

impl<'a> Tries<'a> {
    pub(super) fn new(
        image: &'a ImageReference,
        content: Content,
        settings: &'a RegistrySettings,
        mirrors: &'a [Origin],
        registry: &'a Origin,
    ) -> Self {
        Self { image, content, settings, mirrors, registry, attempts: 0, furthest: 0 }
    }

    pub(super) fn origin(&self) -> &'a Origin {
        self.mirrors.first().unwrap_or(self.registry)
    }

    /// Takes note of how many bytes of a blob have been received.
    pub(super) fn reached(&mut self, bytes: u64) {
        if bytes >= self.furthest.saturating_add(PROGRESS_BYTES_MIN) {
            self.furthest = bytes;
            self.attempts = 0;
        }
    }

    /// Waits until there is something to be tried again.
    ///
    /// # Errors
    /// Where there is nothing left to try: the failure, with all that led to it.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let pause = self.pause_after(failure)?;
        sleep(pause).await;
        Ok(())
    }

    fn pause_after(&mut self, failure: Failure) -> Result<Duration, RegistryError> {
        self.attempts = self.attempts.saturating_add(1);
        // No other place can help where what came cannot be stored.
        let elsewhere = !matches!(failure, Failure::Sink { .. });
        match self.mirrors {
            [_, others @ ..] if elsewhere => {
                let error = self.give_up(failure);
                debug!(error = &error as &dyn std::error::Error, "a mirror is passed over");
                (self.mirrors, self.attempts) = (others, 0);
                Ok(Duration::ZERO)
            }
            _ => match self.pause(&failure) {
                Some(pause) => Ok(pause),
                None => Err(self.give_up(failure)),
            },
        }
    }

    /// How long to wait before the same registry is asked again, if it is.
    fn pause(&self, failure: &Failure) -> Option<Duration> {
        if !failure.is_transient() || self.attempts >= self.settings.attempts_max.get() {
            return None;
        }
        let doublings = self.attempts.saturating_sub(1).min(u32::BITS - 1);
        let backoff = self.settings.backoff.saturating_mul(1 << doublings).min(self.settings.backoff_max);
        match failure.retry_after() {
            Some(asked) if asked > self.settings.retry_after_max => None,
            Some(asked) => Some(asked.max(backoff)),
            None => Some(backoff),
        }
    }

    /// The error of an attempt, at the place that is tried.
    pub(super) fn give_up(&self, failure: Failure) -> RegistryError {
        RegistryError {
            content: self.content,
            image: self.image.familiar(),
            host: self.origin().registry().to_string(),
            attempts: self.attempts,
            failure: Box::new(failure),
        }
    }
}

#[cfg(test)]
mod tests;
