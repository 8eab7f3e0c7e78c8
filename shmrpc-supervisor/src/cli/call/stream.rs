//! A streaming call: items from standard input, items to the output as they come, the reply last.
//!
//! In JSON an item is a line, both ways. In raw, input is cut into chunks and output is written as it comes.

use std::{
    io::{self, BufRead, Read, Write},
    thread,
};

use serde_json::value::RawValue;
use shmrpc_core::{
    Connection, Door,
    client::Reply,
    method::MethodDescription,
    stream::{ByteReceiver, ByteSender, ClientStream, StreamClosed},
};

use super::super::failure::Failure;

const CHUNK_BYTES: usize = 64 * 1024;

/// Makes the call; the reply is not written.
pub(super) fn run(
    connection: &Connection,
    method: &MethodDescription,
    door: Door,
    payload: &[u8],
    out: &mut dyn Write,
) -> Result<Reply, Failure> {
    let ClientStream { reply, sender, receiver } = connection.begin_stream(method.into(), door, payload)?;
    // Not joined: it may wait for somebody who types, after the call has ended. What it has to say about
    // bad input reaches us through the receiver's end, or is its last words on stderr.
    if method.shape.takes_stream() {
        thread::spawn(move || match door {
            Door::Json => send_lines(&sender, io::stdin().lock()),
            Door::Native => send_chunks(&sender, io::stdin().lock()),
        });
    } else {
        drop(sender);
    }
    write_items(&receiver, door, out)?;
    Ok(reply.wait()?)
}

fn write_items(receiver: &ByteReceiver, door: Door, out: &mut dyn Write) -> Result<(), Failure> {
    while let Some(item) = receiver.recv() {
        // The reply, waited for next, says better why items end early.
        let Ok(item) = item else { break };
        let newline: &[u8] = if door == Door::Json { b"\n" } else { b"" };
        out.write_all(&item)
            .and_then(|()| out.write_all(newline))
            .and_then(|()| out.flush())
            .map_err(Failure::output)?;
    }
    Ok(())
}

/// Sends each line that is not empty, until one is not JSON: the service gets an error then, and not a
/// stream that looks complete.
fn send_lines(sender: &ByteSender, input: impl BufRead) {
    for (number, line) in input.lines().enumerate() {
        let item = line.map_err(|error| error.to_string()).and_then(|line| {
            if !line.trim().is_empty() {
                serde_json::from_str::<&RawValue>(&line).map_err(|error| error.to_string())?;
            }
            Ok(line)
        });
        match item {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                if sender.send(line.into_bytes()).is_err() {
                    return; // the service wants no more, which is its right
                }
            }
            Err(error) => {
                let reason = format!("line {} of the input: {error}", number + 1);
                eprintln!("shmrpc: {reason}");
                sender.fail(StreamClosed::Failed(reason));
                return;
            }
        }
    }
    sender.finish();
}

fn send_chunks(sender: &ByteSender, mut input: impl Read) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => return sender.finish(),
            Ok(read) => {
                if sender.send(chunk[..read].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) => return sender.fail(StreamClosed::Failed(error.to_string())),
        }
    }
}
