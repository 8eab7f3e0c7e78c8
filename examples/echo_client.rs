//! Calls every method of the echo service, with both clients:
//!
//! ```text
//! cargo run --example echo_client                          # shm://, this machine
//! cargo run --example echo_client tcp://127.0.0.1:5555     # or any other endpoint, or several
//! ```

#[path = "echo/service.rs"]
#[allow(dead_code, reason = "a client needs the definition alone")]
mod service;

use serde_json::json;
use service::{EchoServerBlockingClient, EchoServerClient, Parcel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = match std::env::args().skip(1).collect::<Vec<_>>().join(",") {
        none if none.is_empty() => "shm://".to_owned(),
        given => given,
    };
    blocking(&endpoints)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(concurrent(&endpoints))
}

/// One call after another.
fn blocking(endpoints: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = EchoServerBlockingClient::connect(endpoints)?;
    let raw = client.echo_raw(b"Lorem ipsum")?;
    println!("echo_raw      {}", String::from_utf8_lossy(&raw));
    println!("echo_in_place {} bytes", client.echo_in_place(&vec![7; 100_000])?.len());
    println!("echo_json     {}", client.echo_json(&json!({"lorem": ["ipsum", 1, null]}))?);
    println!("echo_msgpack  {}", client.echo_msgpack(&json!([1.5, "dolor"]))?);
    let parcel = Parcel { id: 7, text: "sit amet".into(), tags: vec!["fragile".into()] };
    match client.echo_bincode(&parcel) {
        Ok(parcel) => println!("echo_bincode  {parcel:?}"),
        // Over TCP the service's owner has to allow it.
        Err(error) => println!("echo_bincode  {error}"),
    }
    println!("echo_later    {:?}", client.echo_later("never", 60_000));
    let call = client.echo_often("again", 3)?;
    for item in call.items() {
        println!("echo_often    {}", item?);
    }
    println!("echo_often    was said {} times", call.finish()?);
    Ok(())
}

/// Many calls at once, over one connection.
async fn concurrent(endpoints: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = EchoServerClient::connect(endpoints).await?;
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.echo_later(&format!("echo {number}"), 50).await })
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        answered += usize::from(call.await?.is_ok());
    }
    println!("echo_later    {answered} of 100 calls, all under way together");
    println!("worker_pid    {}", client.worker_pid().await?);
    Ok(())
}
