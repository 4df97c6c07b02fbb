use std::collections::HashSet;

use dormouse_image::{
    ImageStore, StoreError,
    oci::{Compression, Layer},
};
use dormouse_spec::Bytes;

/// What a compressed layer is taken to have unpacked, as a multiple of what is sent: few have more.
const UNPACKED_TIMES: u64 = 3;

/// What there has to be room for before layers are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// What is sent: without that nothing can come of it.
    Sent,
    /// That, and what it takes unpacked, as far as can be guessed.
    Unpacked,
}

impl Room {
    /// Whether there is room for those of these layers that are not in the store.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    pub(super) async fn check(self, store: &ImageStore, layers: &[Layer]) -> Result<(), StoreError> {
        let (mut needs, mut seen) = (0_u64, HashSet::new());
        for layer in layers.iter().filter(|layer| seen.insert(layer.blob.digest)) {
            if store.find(layer.blob.clone()).await.is_none() {
                needs = needs.saturating_add(self.of(layer));
            }
        }
        // Where nothing is to be stored a full disk does not matter.
        if needs == 0 { Ok(()) } else { store.check_free_space(Bytes::new(needs)) }
    }

    fn of(self, layer: &Layer) -> u64 {
        let sent = layer.blob.size;
        let unpacked = match (self, layer.compression) {
            (Self::Sent, _) => 0,
            (Self::Unpacked, Compression::None) => sent,
            (Self::Unpacked, Compression::Gzip | Compression::Zstd) => sent.saturating_mul(UNPACKED_TIMES),
        };
        sent.saturating_add(unpacked)
    }
}
