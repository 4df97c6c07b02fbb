//! Which images go, so that enough is free. Pure: what is known goes in, names of manifests come out.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use dormouse_image::LastUse;
use dormouse_spec::{Bytes, Digest};

/// Something on disk that images are made of. A layer that comes uncompressed has one digest as a blob and unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Blob(Digest),
    /// Unpacked.
    Layer(Digest),
}

/// An image that has a name, under all its names.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) manifest: Digest,
    pub(super) last_use: LastUse,
    /// Somebody uses it this moment, or an endpoint runs it: it stays.
    pub(super) is_used: bool,
    /// What it is made of, and what that takes on disk.
    pub(super) parts: HashMap<Part, Bytes>,
}

impl Kept {
    /// It may go later.
    pub(super) fn is_too_young(&self, minimum_age: Duration) -> bool {
        !self.is_used && self.last_use.ago < minimum_age
    }
}

/// An image that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) manifest: Digest,
    /// What nothing needs any more once this image and those chosen before are gone.
    pub(super) bytes: Bytes,
}

/// Those that go for what is `short`, and for what the disk has in `excess` of its thresholds. What does not become
/// available whatever goes costs nothing: then they are those for the excess alone.
pub(super) fn choose_for(
    images: &[Kept],
    needed: &HashSet<Part>,
    (short, excess): (Bytes, Bytes),
    minimum_age: Duration,
) -> Vec<Chosen> {
    let chosen = choose(images, needed, short.max(excess), minimum_age);
    if freed(&chosen) < short { choose(images, needed, excess, minimum_age) } else { chosen }
}

pub(super) fn freed(chosen: &[Chosen]) -> Bytes {
    chosen.iter().fold(Bytes::default(), |sum, chosen| sum.saturating_add(chosen.bytes))
}

/// Those that were used the longest ago come first, until `goal` is reached or none is left that may go. `needed` stays
/// whatever becomes of images.
fn choose(images: &[Kept], needed: &HashSet<Part>, goal: Bytes, minimum_age: Duration) -> Vec<Chosen> {
    let mut users: HashMap<Part, usize> = HashMap::new();
    for part in images.iter().flat_map(|image| image.parts.keys()) {
        *users.entry(*part).or_default() += 1;
    }
    let may_go = |image: &&Kept| !image.is_used && image.last_use.ago >= minimum_age;
    let mut oldest_first: Vec<&Kept> = images.iter().filter(may_go).collect();
    oldest_first.sort_by_key(|image| (image.last_use.at, image.manifest));
    let mut chosen = Vec::new();
    let mut freed = Bytes::default();
    for image in oldest_first {
        if freed >= goal {
            break;
        }
        let mut bytes = Bytes::default();
        for (part, size) in &image.parts {
            let users = users.entry(*part).or_default();
            *users = users.saturating_sub(1);
            if *users == 0 && !needed.contains(part) {
                bytes = bytes.saturating_add(*size);
            }
        }
        freed = freed.saturating_add(bytes);
        chosen.push(Chosen { manifest: image.manifest, bytes });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODYS: u8 = 255;

    fn digest(number: u8) -> Digest {
        Digest::from_sha256([number; 32])
    }

    /// Used at so many seconds of ten, made of these layers of 100 bytes each.
    fn image(number: u8, at: u64, layers: &[u8]) -> Kept {
        let last_use = LastUse { at: Duration::from_secs(at), ago: Duration::from_secs(10 - at) };
        let parts = layers.iter().map(|layer| (Part::Layer(digest(*layer)), Bytes::new(100))).collect();
        Kept { manifest: digest(number), last_use, is_used: false, parts }
    }

    fn used(image: Kept) -> Kept {
        Kept { is_used: true, ..image }
    }

    fn chosen(images: &[Kept], goal: u64, minimum_age: u64) -> Vec<(u8, u64)> {
        let needed = [Part::Layer(digest(NOBODYS))].into();
        let chosen = choose(images, &needed, Bytes::new(goal), Duration::from_secs(minimum_age));
        let number = |manifest| (0..=u8::MAX).find(|number| digest(*number) == manifest).unwrap_or_default();
        chosen.into_iter().map(|chosen| (number(chosen.manifest), chosen.bytes.get())).collect()
    }

    #[test]
    fn what_was_used_the_longest_ago_goes_first_and_no_more_than_is_asked_for() {
        let images = [image(1, 3, &[1]), image(2, 1, &[2]), image(3, 2, &[3])];
        assert_eq!(chosen(&images, 0, 0), []);
        assert_eq!(chosen(&images, 1, 0), [(2, 100)]);
        assert_eq!(chosen(&images, 100, 0), [(2, 100)]);
        assert_eq!(chosen(&images, 101, 0), [(2, 100), (3, 100)]);
        assert_eq!(chosen(&images, 1_000, 0), [(2, 100), (3, 100), (1, 100)], "all, where that is not enough");
    }

    #[test]
    fn what_is_used_and_what_was_used_just_now_stays() {
        let images = [used(image(1, 1, &[1])), image(2, 2, &[2]), image(3, 9, &[3])];
        assert_eq!(chosen(&images, 1_000, 0), [(2, 100), (3, 100)]);
        assert_eq!(chosen(&images, 1_000, 1), [(2, 100), (3, 100)]);
        assert_eq!(chosen(&images, 1_000, 2), [(2, 100)]);
        assert_eq!(chosen(&images, 1_000, 9), []);
    }

    #[test]
    fn what_does_not_fit_whatever_goes_costs_nothing() {
        let images = [image(1, 1, &[1]), image(2, 2, &[2]), image(3, 3, &[3])];
        let chosen = |short, excess| {
            let both = (Bytes::new(short), Bytes::new(excess));
            choose_for(&images, &HashSet::new(), both, Duration::ZERO).len()
        };
        assert_eq!((chosen(0, 0), chosen(150, 0), chosen(300, 0), chosen(301, 0)), (0, 2, 3, 0));
        assert_eq!((chosen(0, 150), chosen(50, 150), chosen(301, 50), chosen(301, 1_000)), (2, 2, 1, 3));
    }

    #[test]
    fn what_others_need_frees_nothing() {
        let base = 7;
        let images = [image(1, 1, &[1, base]), image(2, 2, &[2, base]), used(image(3, 3, &[3]))];
        assert_eq!(chosen(&images, 100, 0), [(1, 100)]);
        assert_eq!(chosen(&images, 300, 0), [(1, 100), (2, 200)], "the last of them frees what they share");
        let images = [image(1, 1, &[1, base]), used(image(2, 2, &[2, base])), image(3, 3, &[NOBODYS, 3])];
        assert_eq!(chosen(&images, 1_000, 0), [(1, 100), (3, 100)]);
    }

    #[test]
    fn a_layer_is_not_the_blob_that_has_its_digest() {
        let mut images = [image(1, 1, &[1]), used(image(2, 2, &[]))];
        images[0].parts.insert(Part::Blob(digest(1)), Bytes::new(50));
        images[1].parts.insert(Part::Blob(digest(1)), Bytes::new(50));
        assert_eq!(chosen(&images, 1_000, 0), [(1, 100)]);
    }

    #[test]
    fn of_one_moment_the_order_is_always_the_same() {
        let images = [image(2, 1, &[2]), image(1, 1, &[1])];
        assert_eq!(chosen(&images, 1_000, 0), [(1, 100), (2, 100)]);
    }
}
