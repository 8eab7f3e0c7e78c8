//! Raw methods take and return bytes.

use shmrpc::{Loan, ShmBytes, json_method, raw_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[raw_method]
    fn takes_text(&self, text: &str) -> Vec<u8> {
        text.into()
    }

    #[raw_method]
    fn takes_two(&self, first: &[u8], second: &[u8]) -> Vec<u8> {
        [first, second].concat()
    }

    #[raw_method]
    fn takes_words(&self, _words: Vec<u32>) -> Vec<u8> {
        Vec::new()
    }

    #[raw_method]
    fn takes_number(&self, _number: u64) {}

    #[raw_method]
    fn returns_number(&self, data: &[u8]) -> u64 {
        data.len() as u64
    }

    #[raw_method]
    fn returns_words(&self) -> Result<Vec<u16>, String> {
        Ok(Vec::new())
    }

    #[raw_method]
    fn returns_option(&self) -> Option<Vec<u8>> {
        None
    }

    #[raw_method]
    fn no_loan(&self, _data: ShmBytes<'_>) -> Result<(), String> {
        Ok(())
    }

    #[raw_method]
    async fn in_place_async(&self, _data: ShmBytes<'_>, _reply: Loan<'_>) -> Result<(), String> {
        Ok(())
    }

    #[raw_method]
    fn in_place_returns(&self, _data: ShmBytes<'_>, _reply: Loan<'_>) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    #[json_method]
    fn json_in_place(&self, _data: ShmBytes<'_>) {}
}

fn main() {}
