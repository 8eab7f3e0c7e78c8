//! The options of `#[service]`: what is missing, wrong or unknown.

use shmrpc::{json_method, service};

macro_rules! structs {
    ($($name:ident)*) => { $(struct $name;)* };
}

structs!(Nothing NoName NoPort PortZero PortTooBig PortText BadName EmptyName NameNumber Unknown Twice Workers Bare);

#[service]
impl Nothing {
    #[json_method]
    fn one(&self) {}
}

#[service(port = 5555)]
impl NoName {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "no_port")]
impl NoPort {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = 0)]
impl PortZero {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = 70000)]
impl PortTooBig {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = "5555")]
impl PortText {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a/b", port = 5555)]
impl BadName {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "", port = 5555)]
impl EmptyName {
    #[json_method]
    fn one(&self) {}
}

#[service(name = 5, port = 5555)]
impl NameNumber {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = 5555, threads = 4)]
impl Unknown {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = 5555, name = "b")]
impl Twice {
    #[json_method]
    fn one(&self) {}
}

#[service(name = "a", port = 5555, workers = 0)]
impl Workers {
    #[json_method]
    fn one(&self) {}
}

#[service(name, port = 5555)]
impl Bare {
    #[json_method]
    fn one(&self) {}
}

fn main() {}
