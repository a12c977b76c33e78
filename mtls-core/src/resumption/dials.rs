//! The first connections of the side paths, dialled beside the primary handshake.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::{BoxFuture, MaybeDone, maybe_done};

use crate::path::{Dial, DialError, Dialed, Endpoint};

type Dialling<S> = BoxFuture<'static, Result<Dialed<S>, DialError>>;

/// One dial of each side path, under way. They make progress in [`during`](Self::during).
pub(crate) struct SideDials<S> {
    dials: Vec<(usize, FirstDial<S>)>,
}

/// The first dial of one side path.
pub(crate) struct FirstDial<S>(MaybeDone<Dialling<S>>);

impl<S> Default for SideDials<S> {
    fn default() -> Self {
        Self { dials: Vec::new() }
    }
}

impl<S> SideDials<S> {
    /// Dials these side paths, by their indices.
    pub(crate) fn start<D>(sides: &[D], indices: impl Iterator<Item = usize>, to: &Endpoint) -> Self
    where
        D: Dial<Stream = S>,
    {
        let start = |index: usize| (index, FirstDial(maybe_done(sides[index].dial(to))));
        Self {
            dials: indices.map(start).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dials.is_empty()
    }

    /// How many side paths are dialled.
    pub(super) fn len(&self) -> usize {
        self.dials.len()
    }

    /// Drives the dials while `other` is under way.
    pub(crate) async fn during<F: Future>(&mut self, mut other: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            for (_, FirstDial(dial)) in &mut self.dials {
                let _: Poll<()> = Pin::new(dial).poll(cx);
            }
            other.as_mut().poll(cx)
        })
        .await
    }
}

impl<S> IntoIterator for SideDials<S> {
    type Item = (usize, FirstDial<S>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.dials.into_iter()
    }
}

impl<S> FirstDial<S> {
    /// `None` where the result was taken before.
    pub(super) async fn finish(mut self) -> Option<Result<Dialed<S>, DialError>> {
        Pin::new(&mut self.0).await;
        Pin::new(&mut self.0).take_output()
    }
}
