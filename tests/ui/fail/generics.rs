//! What travels has a type that both sides know.

use std::fmt::Display;

use shmrpc::{json_method, service};

struct Store<T, const N: usize>([T; N]);

#[service(name = "store", port = 5555)]
impl<T: Clone, const N: usize> Store<T, N> {
    #[json_method]
    fn first(&self) -> Option<T> {
        self.0.first().cloned()
    }

    #[json_method]
    fn put(&self, _item: Vec<T>) {}

    #[json_method]
    fn own_parameter<U: Display>(&self, value: U) -> String {
        value.to_string()
    }

    #[json_method]
    fn own_constant<const M: usize>(&self) -> usize {
        M
    }

    #[json_method]
    fn implicit_parameter(&self, value: impl Display) -> String {
        value.to_string()
    }

    #[json_method]
    fn implicit_reply(&self) -> impl Display {
        "text"
    }

    #[json_method]
    fn right(&self) -> usize {
        N
    }
}

#[service(name = "generic_trait", port = 5556)]
trait Finder<T> {
    #[json_method]
    fn find(&self) -> u32;
}

fn main() {}
