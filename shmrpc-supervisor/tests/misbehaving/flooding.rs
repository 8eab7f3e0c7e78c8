//! A program that prints as fast as it is let: short lines to standard output, one line without an end to standard error.

use std::{
    io::{Write, stderr, stdout},
    thread,
};

fn main() {
    let endless = thread::spawn(|| while stderr().write_all(&[b'x'; 4096]).is_ok() {});
    let lines = "a line that nobody has asked for\n".repeat(100);
    while stdout().write_all(lines.as_bytes()).is_ok() {}
    let _ended = endless.join();
}
