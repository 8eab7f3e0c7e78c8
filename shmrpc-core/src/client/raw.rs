//! Raw calls: bytes in, bytes out. Into a new vector, into a buffer of the caller's, or in place, where the
//! argument is written and the reply read in the transport's own memory.

use super::{Connection, DEFAULT_DEADLINE, Door, decode_reply};
use crate::{
    codec::{Decode, Json, Raw},
    error::{CallError, RpcError, Status},
    method::MethodInfo,
    server::{Loan, LoanError, ShmBytes},
    transport::{InPlace, Outbound, io::NO_DEADLINE},
};

impl Connection {
    /// Calls a raw method and waits, blocking the thread. The argument is copied once, into the
    /// transport.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub fn call_raw_blocking<E>(
        &self,
        method: &'static MethodInfo,
        data: &[u8],
    ) -> Result<Vec<u8>, CallError<E>>
    where
        Json: Decode<E>,
    {
        let mut reply = Vec::new();
        self.call_raw_into_blocking(method, data, &mut reply)?;
        Ok(reply)
    }

    /// As [`Self::call_raw_blocking`], with the reply in a buffer of the caller's, in place of what it held. With
    /// one that has room enough a call through shared memory allocates nothing.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`]; what the buffer holds then is of no account.
    pub fn call_raw_into_blocking<E>(
        &self,
        method: &'static MethodInfo,
        data: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), CallError<E>>
    where
        Json: Decode<E>,
    {
        reply.clear();
        match self.call_into_blocking(method.into(), Door::Native, data, reply)? {
            Status::Ok => Ok(()),
            _ => Err(CallError::Service(<Json as Decode<E>>::decode(reply)?)),
        }
    }

    /// Calls a raw method in place, and waits, blocking the thread: `write` writes the argument where the worker
    /// reads it, `read` reads the reply where the worker has written it. Neither is copied by the library over shared
    /// memory; other transports give private memory, which behaves the same.
    ///
    /// # Errors
    /// The service's own error; `write`'s, as [`RpcError::NoSpace`]; or see [`RpcError`]. If `write` fails or panics
    /// nothing is called; `read` is not called unless there is a reply.
    pub fn call_raw_in_place_blocking<E, R>(
        &self,
        method: &'static MethodInfo,
        write: impl FnOnce(Loan<'_>) -> Result<(), LoanError>,
        read: impl FnOnce(ShmBytes<'_>) -> R,
    ) -> Result<R, CallError<E>>
    where
        Json: Decode<E>,
    {
        let deadline = self.deadline.or(method.deadline).unwrap_or(DEFAULT_DEADLINE).min(NO_DEADLINE);
        let (mut write, mut read, mut outcome) = (Some(write), Some(read), None);
        self.transport.call_in_place(InPlace {
            call: Outbound { method: method.into(), door: Door::Native, payload: &[], deadline },
            write: &mut |loan| write.take().map_or(Ok(()), |write| write(loan)),
            read: &mut |status, reply| {
                outcome = Some(match (status, read.take()) {
                    (Status::Ok, Some(read)) => Ok(read(reply)),
                    _ => Err(reply.to_vec()),
                });
            },
        })?;
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(CallError::Service(<Json as Decode<E>>::decode(&error)?)),
            None => Err(RpcError::Protocol("a call without an outcome".into()).into()),
        }
    }

    /// Calls a raw method.
    ///
    /// # Errors
    /// The service's own error, or see [`RpcError`].
    pub async fn call_raw<E>(&self, method: &'static MethodInfo, data: &[u8]) -> Result<Vec<u8>, CallError<E>>
    where
        Json: Decode<E>,
    {
        let reply = self.call_bytes(method.into(), Door::Native, data).await?;
        if reply.status == Status::Ok {
            return Ok(reply.body);
        }
        decode_reply::<Raw, Vec<u8>, E>(reply.status, &reply.body)
    }
}
