use http_body::Body;
use hyper::body::Incoming;

/// Whether a body over HTTP/2 that is said to be over was reset before its end. hyper tells a reset without an error
/// (RFC 9113, 8.1) as it tells an end: it means that whoever sent it wants to hear no more, not that all was said.
/// Of one that has a length as much as that was read in any case.
pub(super) fn was_reset(incoming: &Incoming) -> bool {
    !incoming.is_end_stream() && incoming.size_hint().exact() != Some(0)
}
