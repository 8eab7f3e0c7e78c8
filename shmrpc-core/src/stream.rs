//! Streams: items that travel within one call, in either direction or in both, each side as fast as the
//! other takes them. Bytes first ([`ByteSender`], [`ByteReceiver`], [`ClientStream`]), values on top:
//! [`StreamSender`] and [`StreamReceiver`] in a handler, [`StreamCall`] and [`BlockingStreamCall`] at the
//! client. Transports make the halves (`transport::session`); nothing here knows frames or sockets.
//!
//! A sender that is ahead of its receiver by a window (256 KiB) waits: memory stays flat whatever the
//! receiver does. Either side may end its items or refuse more of the other's; the call itself ends with
//! the handler's reply. A streaming call has the deadline of its method or connection, and none if
//! neither has one: a stream may be meant to last.
//!
//! # What generated code calls
//!
//! For a method with a parameter `out: StreamSender<S>`, one `input: StreamReceiver<U>`, or both
//! (`Shape::Download`, `Upload`, `Duplex`), decoded arguments `A`, reply `R` and user error `E` (both as
//! with methods that are not streams), the dispatcher of codec `C` calls one of
//!
//! ```text
//! glue::stream::<C, A, S, U, R, E>(call, |args: A, out: StreamSender<S>, input: StreamReceiver<U>| -> Result<R, E>)
//! glue::stream_async::<C, A, S, U, R, E, _>(call, |args, out, input| async move { … Result<R, E> })
//! glue::raw_stream::<R, E>(call, |args: &[u8], out: StreamSender<Vec<u8>>, input: StreamReceiver<Vec<u8>>| …)
//! glue::raw_stream_async::<R, E, _>(call, |args: Vec<u8>, out, input| async move { … })
//! ```
//!
//! and drops the half that the method does not take; its item type is [`NoItems`] (`Vec<u8>` for raw).
//! The client's method for it returns
//!
//! ```text
//! connection.stream_blocking::<C, A, U, S, R, E>(&METHOD, &args)?      // BlockingStreamCall<U, S, R, E>
//! connection.stream::<C, A, U, S, R, E>(&METHOD, &args).await?         // StreamCall<U, S, R, E>
//! ```
//!
//! where `U` are the items that the client sends and `S` those that it receives.

mod bytes;
mod call;
mod server;

use serde::{Deserialize, Serialize};

pub use self::{
    bytes::{ByteReceiver, ByteSender, ClientStream, ServerStream},
    call::{BlockingStreamCall, Items, StreamCall},
    server::{StreamReceiver, StreamSender},
};
use crate::{
    codec::CodecError,
    error::{RpcError, Status},
};

/// The item of a direction that a method does not use: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoItems {}

/// An item could not be sent, and no further one can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamClosed {
    /// The other side wants no more items, or the call has ended there.
    #[error("the receiver wants no more items")]
    ByPeer,
    /// This side has ended its items already.
    #[error("the stream has been finished")]
    Finished,
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// The call's deadline passed.
    #[error("the deadline of the call has passed")]
    DeadlineExceeded,
    /// The item exceeds the limit; the receiver is told.
    #[error("item of {len_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The encoded item.
        len_bytes: u64,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// The item has no bytes in the method's encoding; the receiver is told.
    #[error("{0}")]
    Codec(String),
    /// The call failed, or its connection was lost.
    #[error("{0}")]
    Failed(String),
}

impl StreamClosed {
    /// The status by which the receiver learns of it.
    fn status(&self) -> Status {
        match self {
            Self::ByPeer | Self::Finished => Status::Ok,
            Self::Cancelled => Status::Cancelled,
            Self::DeadlineExceeded => Status::DeadlineExceeded,
            Self::TooLarge { .. } => Status::TooLarge,
            Self::Codec(_) | Self::Failed(_) => Status::Internal,
        }
    }
}

impl From<&RpcError> for StreamClosed {
    fn from(error: &RpcError) -> Self {
        match error {
            RpcError::Cancelled => Self::Cancelled,
            RpcError::DeadlineExceeded { .. } => Self::DeadlineExceeded,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<CodecError> for StreamClosed {
    fn from(error: CodecError) -> Self {
        Self::Codec(error.to_string())
    }
}
