use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// Parts of a body below this are joined: what is kept of each beside its bytes may be more than they are.
const JOINED_BELOW_BYTES: usize = 4 << 10;

/// The beginning of a body, which waits with its request.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    parts: VecDeque<Bytes>,
    /// Small parts, behind all others.
    joined: BytesMut,
    /// Behind all that is data.
    trailers: Option<HeaderMap>,
}

impl Ahead {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.len() < JOINED_BELOW_BYTES => self.joined.extend_from_slice(&data),
            Ok(data) => {
                self.end_joined();
                self.parts.push_back(data);
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        if self.parts.is_empty() {
            self.end_joined();
        }
        self.parts.pop_front().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers))
    }

    fn end_joined(&mut self) {
        if !self.joined.is_empty() {
            self.parts.push_back(std::mem::take(&mut self.joined).freeze());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.joined.is_empty() && self.trailers.is_none()
    }

    /// Of its data.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.joined.len()
    }

    pub(super) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn popped(ahead: &mut Ahead) -> Vec<Bytes> {
        std::iter::from_fn(|| ahead.pop()).map(|frame| frame.into_data().unwrap()).collect()
    }

    #[test]
    fn many_small_parts_are_kept_as_one_and_large_ones_as_they_are() {
        let mut ahead = Ahead::default();
        (0..65_536).for_each(|_| ahead.push(Frame::data(Bytes::from_static(b"x"))));
        assert_eq!(ahead.bytes(), 65_536);
        assert_eq!(popped(&mut ahead), [vec![b'x'; 65_536]]);
        assert!(ahead.is_empty());

        let large = Bytes::from(vec![b'l'; JOINED_BELOW_BYTES]);
        for part in [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone(), Bytes::from_static(b"c")] {
            ahead.push(Frame::data(part));
        }
        let parts = popped(&mut ahead);
        assert_eq!(parts, [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"c")]);
        assert_eq!(parts[1].as_ptr(), large.as_ptr(), "it was copied");
    }

    #[test]
    fn trailers_come_last() {
        let mut ahead = Ahead::default();
        ahead.push(Frame::data(Bytes::from_static(b"a")));
        ahead.push(Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "97".parse().unwrap())])));
        assert!(ahead.has_trailers());
        assert_eq!(ahead.pop().unwrap().into_data().unwrap(), "a");
        assert!(!ahead.is_empty());
        assert_eq!(ahead.pop().unwrap().into_trailers().unwrap()["x-sum"], "97");
        assert!(ahead.is_empty() && ahead.pop().is_none());
    }
}
