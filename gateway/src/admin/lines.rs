use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc::Receiver;

/// A body of lines that are written as they come, until nobody sends any more.
#[derive(Debug)]
pub(super) struct Lines<T> {
    first: Option<T>,
    rest: Receiver<T>,
    write: fn(T) -> String,
}

impl<T> Lines<T> {
    pub(super) fn new(first: Option<T>, rest: Receiver<T>, write: fn(T) -> String) -> Self {
        Self { first, rest, write }
    }
}

impl<T: Unpin> Body for Lines<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let next = match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => this.rest.poll_recv(cx),
        };
        next.map(|line| {
            line.map(|line| {
                let mut text = (this.write)(line);
                text.push('\n');
                Ok(Frame::data(text.into()))
            })
        })
    }
}
