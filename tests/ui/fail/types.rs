//! Types that cannot travel.

use std::{borrow::Cow, rc::Rc};

use shmrpc::{json_method, msgpack_method, service};

struct EchoServer(String);

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    fn borrow_inside(&self, _text: Option<&str>) {}

    #[json_method]
    fn mutable(&self, _text: &mut String) {}

    #[json_method]
    fn elided(&self, _text: Cow<'_, str>) {}

    #[msgpack_method]
    fn object(&self, _text: Box<dyn ToString>) {}

    #[msgpack_method]
    fn pointer(&self, _place: *const u8) {}

    #[msgpack_method]
    fn function(&self) -> Vec<fn(u8) -> u8> {
        Vec::new()
    }

    #[json_method]
    fn own_type(&self) -> Self {
        EchoServer(String::new())
    }

    #[json_method]
    async fn borrowed_reply(&self) -> &str {
        &self.0
    }

    #[json_method]
    fn never(&self) -> ! {
        panic!()
    }

    #[json_method]
    fn borrowing_error<'a>(&'a self) -> Result<(), Cow<'a, str>> {
        Ok(())
    }

    #[json_method]
    fn borrowed_error(&self) -> Result<(), &'static str> {
        Ok(())
    }

    #[json_method]
    fn slice(&self, _row: &[&str]) {}
}

fn main() {
    let _ = Rc::new(EchoServer(String::new()));
}
