//! The pipe of a link whose port has gone and is awaited: nothing comes from it, and it takes nothing.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::Transport;

/// See the module.
pub struct Unplugged;

impl Transport for Unplugged {
    fn poll_read(&mut self, _cx: &mut Context<'_>, _into: &mut BytesMut) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn read_now(&mut self, _into: &mut BytesMut) -> io::Result<usize> {
        Ok(0)
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, _bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn queued_output(&self) -> usize {
        0
    }

    fn discard_output(&mut self) {
        // There is none.
    }

    fn discard_input(&mut self) {
        // There is none.
    }

    fn bytes_per_second(&self) -> Option<f64> {
        None
    }

    fn close(self: Box<Self>) {
        // There is nothing to close.
    }

    fn close_blocks(&self) -> bool {
        false
    }
}
