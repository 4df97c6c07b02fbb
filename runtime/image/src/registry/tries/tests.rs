#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;

use super::*;
use crate::registry::error::Detail;

fn server_error(retry_after: Option<u64>) -> Failure {
    Failure::Server { status: 500, retry_after: retry_after.map(Duration::from_secs), detail: Detail::default() }
}

/// The pauses, in milliseconds, after each of these failures; `None` where it was given up.
fn pauses(failures: impl IntoIterator<Item = Failure>) -> Vec<Option<u128>> {
    let image: ImageReference = "busybox".parse().unwrap();
    let registry = Origin::new(image.registry().clone(), image.repository(), false, None);
    let settings = RegistrySettings { attempts_max: NonZeroU32::new(8).unwrap(), ..RegistrySettings::default() };
    let mut tries = Tries::new(&image, Content::Manifest, &settings, &[], &registry);
    failures.into_iter().map(|failure| tries.pause_after(failure).ok().map(|pause| pause.as_millis())).collect()
}

#[test]
fn pauses_double_up_to_a_limit_and_end() {
    let failures = (0..8).map(|_| server_error(None));
    let expected = [500, 1000, 2000, 4000, 8000, 8000, 8000].map(Some).into_iter().chain([None]);
    assert_eq!(pauses(failures), expected.collect::<Vec<_>>());
}

#[test]
fn what_the_registry_asks_for_is_the_least_and_has_a_limit() {
    assert_eq!(pauses([server_error(Some(0)), server_error(Some(60))]), [Some(500), Some(60_000)]);
    assert_eq!(pauses([server_error(Some(61))]), [None]);
    let token = Failure::Token { server: String::new(), source: Box::new(server_error(Some(7))) };
    assert_eq!(pauses([token]), [Some(7000)]);
}

#[test]
fn what_will_not_change_is_not_tried_again() {
    assert_eq!(pauses([Failure::Schema1]), [None]);
}
