use std::collections::HashSet;

use dormouse_image::{
    ImageStore, StoreError,
    oci::{Compression, Layer},
};
use dormouse_spec::Bytes;

/// What a compressed layer is taken to have unpacked, as a multiple of what is sent: few have more.
pub(super) const UNPACKED_TIMES: u64 = 3;

/// When it is looked whether there is room for layers that are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Before anything is fetched, for all of them, unpacked too as far as that can be guessed: so that images can make
    /// room first.
    ForAll,
    /// For each as it is fetched, and as it is unpacked.
    ForEach,
}

impl Room {
    /// Whether there is room for those of these layers that are not in the store.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    pub(super) async fn check(self, store: &ImageStore, layers: &[Layer]) -> Result<(), StoreError> {
        if self == Self::ForEach {
            return Ok(());
        }
        let (mut needs, mut seen) = (0_u64, HashSet::new());
        for layer in layers.iter().filter(|layer| seen.insert(layer.blob.digest)) {
            if store.find(layer.blob.clone()).await.is_none() {
                needs = needs.saturating_add(needs_of(layer));
            }
        }
        // Where nothing is to be stored a full disk does not matter.
        if needs == 0 { Ok(()) } else { store.check_free_space(Bytes::new(needs)) }
    }
}

fn needs_of(layer: &Layer) -> u64 {
    let sent = layer.blob.size;
    let unpacked = match layer.compression {
        Compression::None => sent,
        Compression::Gzip | Compression::Zstd => sent.saturating_mul(UNPACKED_TIMES),
    };
    sent.saturating_add(unpacked)
}
