//! Streams are parameters of their own, the sender last.

use shmrpc::{StreamReceiver, StreamSender, json_method, raw_method, service};

struct Streams;

#[service(name = "streams", port = 5555)]
impl Streams {
    #[json_method]
    fn sender_first(&self, out: StreamSender<u32>, _count: u32) {
        drop(out);
    }

    #[json_method]
    fn two_senders(&self, _one: StreamSender<u32>, _two: StreamSender<u32>) {}

    #[json_method]
    fn two_receivers(&self, _one: StreamReceiver<u32>, _two: StreamReceiver<u32>) {}

    #[json_method]
    fn returned(&self) -> StreamReceiver<u32> {
        unreachable!()
    }

    #[json_method]
    fn inside(&self, _maybe: Option<StreamSender<u32>>) {}

    #[json_method]
    fn borrowed_items(&self, _out: StreamSender<&str>) {}

    #[raw_method]
    fn raw_items(&self, _out: StreamSender<u32>) {}

    #[raw_method]
    fn raw_reply(&self) -> StreamReceiver<Vec<u8>> {
        unreachable!()
    }

    #[json_method]
    fn right(&self, _count: u32, _input: StreamReceiver<String>, _out: StreamSender<(u32, String)>) {}
}

fn main() {
    let client = StreamsBlockingClient::connect("shm://").unwrap();
    let _ = client.right(1);
}
