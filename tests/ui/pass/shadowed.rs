//! What is made names everything by its full path, so the author's own names do not disturb it.
#![deny(warnings)]

use shmrpc::{json_method, msgpack_method, service};

/// A loan of a library, which is a value.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Loan {
    book: ::std::string::String,
}

#[allow(dead_code, non_camel_case_types)]
mod in_the_way {
    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct String;
    pub(super) struct Vec;
    pub(super) struct Box;
    pub(super) trait Clone {}
    pub(super) trait Send {}
    pub(super) fn drop() {}
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) const INFO: u8 = 0;
}

#[allow(unused_imports)]
use in_the_way::*;

struct Library;

#[service(name = "library", port = 5555)]
impl Library {
    #[json_method]
    fn lend(&self, loan: Loan, call: u8, args: u8, self_: u8) -> ::std::string::String {
        format!("{}{}", loan.book, call + args + self_)
    }

    #[msgpack_method]
    async fn dispatch(&self, info: &str, method: u8, out: u8) -> ::core::result::Result<u8, ::std::string::String> {
        if info.is_empty() { Err("none".into()) } else { Ok(method + out) }
    }

    #[json_method]
    fn info(&self) {}
}

fn main() {
    let client = LibraryBlockingClient::in_process(Library);
    let loan = Loan { book: "Emma".into() };
    assert_eq!(client.lend(&loan, 1, 2, 3).unwrap(), "Emma6");
    assert_eq!(client.dispatch("x", 1, 2).unwrap(), 3);
    client.info().unwrap();
}
