//! A program that dies as soon as it has begun, each time.

fn main() {
    println!("about to crash");
    std::process::abort();
}
