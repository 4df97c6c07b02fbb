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
    /// What those of these layers take that are not in the store; nothing where it is not looked for all of them.
    pub(super) async fn needs(self, store: &ImageStore, layers: &[Layer]) -> Bytes {
        if self == Self::ForEach {
            return Bytes::default();
        }
        let (mut needs, mut seen) = (0_u64, HashSet::new());
        for layer in layers.iter().filter(|layer| seen.insert(layer.blob.digest)) {
            if store.find(layer.blob.clone()).await.is_none() {
                needs = needs.saturating_add(needs_of(layer));
            }
        }
        Bytes::new(needs)
    }
}

/// Whether there is room for so much.
///
/// # Errors
/// [`StoreError::DiskFull`].
pub(super) fn check(store: &ImageStore, needs: Bytes) -> Result<(), StoreError> {
    // Where nothing is to be stored a full disk does not matter.
    if needs == Bytes::default() { Ok(()) } else { store.check_free_space(needs) }
}

fn needs_of(layer: &Layer) -> u64 {
    let sent = layer.blob.size;
    let unpacked = match layer.compression {
        Compression::None => sent,
        Compression::Gzip | Compression::Zstd => sent.saturating_mul(UNPACKED_TIMES),
    };
    sent.saturating_add(unpacked)
}
