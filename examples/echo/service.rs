//! The echo service: every encoding, both kinds of handler, a typed error and a stream. `echo_server` serves
//! it; `echo_client` and `echo_server` share this file as two programs would share a crate.

#![allow(unreachable_pub, reason = "it reads as in a crate of its own")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shmrpc::{
    Loan, LoanError, ShmBytes, StreamSender, bincode_method, json_method, msgpack_method, raw_method,
    schemars::{self, JsonSchema},
    service,
};

/// Answers with what it is told. It has no state; what it had would be each worker's own.
#[derive(Debug, Default)]
pub struct EchoServer;

/// Something with a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parcel {
    /// Its number.
    pub id: u64,
    /// What is written on it.
    pub text: String,
    /// More of it.
    pub tags: Vec<String>,
}

/// Why an echo does not come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum EchoError {
    /// Nobody waits for so long.
    TooLate {
        /// The longest delay that is taken.
        limit_ms: u64,
    },
}

/// Answers with what it is told, in every encoding.
#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    /// Bytes in, bytes out.
    #[raw_method(idempotent)]
    fn echo_raw(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    /// Bytes in, bytes out, in place: the argument is read where it lies, the reply written where it is read.
    #[raw_method(idempotent)]
    fn echo_in_place(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }

    /// Any JSON value.
    #[json_method(deadline = "2s", idempotent, read_only)]
    fn echo_json(&self, data: Value) -> Value {
        data
    }

    /// Any value, as MessagePack.
    #[msgpack_method(idempotent)]
    fn echo_msgpack(&self, data: Value) -> Value {
        data
    }

    /// A parcel, as bincode.
    #[bincode_method(idempotent)]
    fn echo_bincode(&self, parcel: Parcel) -> Parcel {
        parcel
    }

    /// A text, after a while. Many may wait at once, and no thread does.
    #[json_method]
    async fn echo_later(&self, text: &str, delay_ms: u64) -> Result<String, EchoError> {
        const LIMIT_MS: u64 = 20_000;
        if delay_ms > LIMIT_MS {
            return Err(EchoError::TooLate { limit_ms: LIMIT_MS });
        }
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        Ok(text.to_owned())
    }

    /// A text, so many times, one by one.
    #[json_method]
    fn echo_often(&self, text: &str, times: u32, out: StreamSender<String>) -> u32 {
        let said = (0..times).take_while(|_| out.send(&text.to_owned()).is_ok());
        said.count().try_into().unwrap_or(u32::MAX)
    }

    /// The process that answers: call it a few times to see that there are several.
    #[json_method(read_only)]
    fn worker_pid(&self) -> u32 {
        println!("asked for the worker's process id");
        std::process::id()
    }
}
