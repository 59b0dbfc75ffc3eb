//! A connection whose client takes nothing is cut off.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use synod_types::limits::HTTP_WRITE_STALL_MS_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

const STALL: Duration = Duration::from_millis(HTTP_WRITE_STALL_MS_MAX);

/// A stream that fails when nothing of what is written to it was taken for [`HTTP_WRITE_STALL_MS_MAX`].
pub(crate) struct Stalling<S> {
    stream: S,
    peer: SocketAddr,
    /// Since something waits to be taken.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    pub(crate) fn new(stream: S, peer: SocketAddr) -> Stalling<S> {
        Stalling { stream, peer, patience: None }
    }

    /// What has become of a write.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        ready!(self.patience.get_or_insert_with(|| Box::pin(sleep(STALL))).as_mut().poll(cx));
        tracing::info!(peer = %self.peer, "an HTTP client took nothing for {STALL:?} and is cut off");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off_and_who_takes_little_is_not() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let (ours, mut theirs) = duplex(8);
        let mut ours = Stalling::new(ours, peer);
        ours.write_all(&[1; 8]).await.unwrap();
        let writing = tokio::spawn(async move {
            let begun = Instant::now();
            let why = ours.write_all(&[2; 8]).await.unwrap_err();
            (begun.elapsed(), why.kind())
        });
        for _ in 0..3 {
            tokio::task::yield_now().await;
            advance(STALL - Duration::from_millis(1)).await;
            theirs.read_exact(&mut [0; 2]).await.unwrap();
        }
        let (waited, why) = writing.await.unwrap();
        assert_eq!(why, io::ErrorKind::TimedOut);
        assert!(waited > STALL * 3, "it had taken something: {waited:?}");
    }
}
