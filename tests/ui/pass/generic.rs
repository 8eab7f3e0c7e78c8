//! A generic server: its parameters stay on the server's side.
#![deny(warnings)]

use std::fmt::Display;

use shmrpc::{Definition, json_method, service};

struct Speaker<T, const N: usize> {
    words: [T; N],
}

#[service(name = "speaker", port = 5555)]
impl<T, const N: usize> Speaker<T, N>
where
    T: Display,
{
    #[json_method]
    fn say(&self, index: usize) -> Option<String> {
        self.words.get(index).map(ToString::to_string)
    }

    #[json_method]
    async fn count(&self) -> usize {
        N
    }
}

struct Fixed<T>(T);

#[service(name = "fixed", port = 5556)]
impl Fixed<u32> {
    #[json_method]
    fn value(&self) -> u32 {
        self.0
    }
}

fn main() {
    let client = SpeakerBlockingClient::in_process(Speaker { words: [1, 2, 3] });
    assert_eq!(client.say(1).unwrap().as_deref(), Some("2"));
    assert_eq!(client.count().unwrap(), 3);
    let client = SpeakerBlockingClient::in_process(Speaker { words: ["a"] });
    assert_eq!(client.say(0).unwrap().as_deref(), Some("a"));
    assert_eq!(<Speaker<u8, 4> as Definition>::INFO.struct_name, "Speaker");
    assert_eq!(FixedBlockingClient::in_process(Fixed(3)).value().unwrap(), 3);
}
