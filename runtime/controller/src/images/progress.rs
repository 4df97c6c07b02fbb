use std::sync::Arc;

use tokio::sync::watch;

/// How far a pull or an import has come. Whoever watches sees the latest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageProgress {
    /// Of blobs that are in the store, those that were there before included.
    pub bytes_done: u64,
    /// 0 while it is not known.
    pub bytes_total: u64,
    pub layers_unpacked: usize,
    pub layers_total: usize,
}

/// Shared by what works on one image.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<watch::Sender<ImageProgress>>);

impl Progress {
    pub(super) fn new(watched: watch::Sender<ImageProgress>) -> Self {
        Self(Arc::new(watched))
    }

    pub(super) fn expect(&self, bytes: u64, layers: usize) {
        self.0.send_modify(|progress| {
            progress.bytes_total = progress.bytes_total.saturating_add(bytes);
            progress.layers_total += layers;
        });
    }

    pub(super) fn stored(&self, bytes: u64) {
        self.0.send_modify(|progress| progress.bytes_done = progress.bytes_done.saturating_add(bytes));
    }

    pub(super) fn has_stored(&self) -> bool {
        self.0.borrow().bytes_done > 0
    }

    /// All of it begins anew.
    pub(super) fn begin_anew(&self) {
        self.0.send_modify(|progress| *progress = ImageProgress::default());
    }

    /// A transfer begins anew.
    pub(super) fn lost(&self, bytes: u64) {
        self.0.send_modify(|progress| progress.bytes_done = progress.bytes_done.saturating_sub(bytes));
    }

    pub(super) fn unpacked(&self) {
        self.0.send_modify(|progress| progress.layers_unpacked += 1);
    }

    /// All that came of an archive whose length nobody knows.
    pub(super) fn read(&self, bytes: u64) {
        self.0.send_modify(|progress| progress.bytes_done = bytes);
    }
}
