//! Methods that stream, in each direction, in each manner, through both clients.

use shmrpc::{
    CallError, StreamReceiver, StreamSender, bincode_method, json_method, method::Shape, msgpack_method,
    raw_method, service,
};

use super::{Row, RowError};

struct Streams;

#[service(name = "streams", port = 5700)]
impl Streams {
    /// Counts up to a number.
    #[json_method]
    fn count(&self, to: u32, out: StreamSender<u32>) -> Result<String, RowError> {
        if to == 0 {
            return Err(RowError::Refused("nothing to count".into()));
        }
        for number in 1..=to {
            if out.send(&number).is_err() {
                return Ok(format!("stopped at {number}"));
            }
        }
        Ok("done".into())
    }

    #[msgpack_method]
    async fn sum(&self, rows: StreamReceiver<Row>) -> u64 {
        let mut sum = 0;
        while let Some(Ok(row)) = rows.recv_async().await {
            sum += row.id;
        }
        sum
    }

    #[bincode_method]
    async fn double(&self, factor: u64, rows: StreamReceiver<Row>, out: StreamSender<Row>) {
        while let Some(Ok(row)) = rows.recv_async().await {
            let id = row.id * factor;
            if out.send_async(&Row { id, ..row }).await.is_err() {
                break;
            }
        }
    }

    #[raw_method]
    fn reverse(&self, start: &[u8], input: StreamReceiver<Vec<u8>>, out: StreamSender<Vec<u8>>) -> Vec<u8> {
        let mut count = 0u8;
        for mut item in input.map_while(Result::ok) {
            item.reverse();
            count += 1;
            let _ = out.send(&item);
        }
        [start, &[count]].concat()
    }

    #[raw_method]
    fn split(&self, data: Vec<u8>, out: &StreamSender<Vec<u8>>) {
        for byte in data {
            let _ = out.send(&vec![byte]);
        }
    }

    #[raw_method]
    async fn join(&self, input: StreamReceiver<Vec<u8>>) -> Result<Vec<u8>, RowError> {
        let mut all = Vec::new();
        while let Some(item) = input.recv_async().await {
            all.extend(item.map_err(|error| RowError::Refused(error.to_string()))?);
        }
        Ok(all)
    }
}

fn row(id: u64) -> Row {
    Row { id, ..Row::sample() }
}

#[test]
fn blocking_client() {
    let client = StreamsBlockingClient::in_process(Streams);

    let call = client.count(5).unwrap();
    let items: Vec<u32> = call.items().map(Result::unwrap).collect();
    assert_eq!(items, [1, 2, 3, 4, 5]);
    assert_eq!(call.finish().unwrap(), "done");

    let call = client.sum().unwrap();
    for id in 1..=10 {
        call.send(&row(id)).unwrap();
    }
    assert!(call.recv().is_none(), "nothing travels in the direction that the method does not use");
    assert_eq!(call.finish().unwrap(), 55);

    let call = client.double(3).unwrap();
    call.send(&row(7)).unwrap();
    assert_eq!(call.recv().unwrap().unwrap(), row(21));
    call.close_send();
    assert!(call.recv().is_none());
    call.finish().unwrap();

    let call = client.reverse(b"n=").unwrap();
    call.send(&b"abc".to_vec()).unwrap();
    call.close_send();
    assert_eq!(call.recv().unwrap().unwrap(), b"cba");
    assert!(call.recv().is_none());
    assert_eq!(call.finish().unwrap(), b"n=\x01");

    let call = client.split(b"xyz").unwrap();
    let items: Vec<Vec<u8>> = call.items().map(Result::unwrap).collect();
    assert_eq!(items.concat(), b"xyz");
    assert_eq!(call.finish().unwrap(), b"");
}

#[tokio::test]
async fn async_client() {
    let client = StreamsClient::in_process(Streams);
    let call = client.double(2).await.unwrap();
    call.send(&row(4)).await.unwrap();
    assert_eq!(call.recv().await.unwrap().unwrap().id, 8);
    call.finish().await.unwrap();

    let call = client.join().await.unwrap();
    call.send(&b"ab".to_vec()).await.unwrap();
    call.send(&b"c".to_vec()).await.unwrap();
    assert_eq!(call.finish().await.unwrap(), b"abc");
}

#[test]
fn a_typed_error_ends_the_stream() {
    let client = StreamsBlockingClient::in_process(Streams);
    let call = client.count(0).unwrap();
    assert!(call.recv().is_none());
    match call.finish() {
        Err(CallError::Service(RowError::Refused(text))) => assert_eq!(text, "nothing to count"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_may_stop_early() {
    let client = StreamsBlockingClient::in_process(Streams);
    let call = client.count(u32::MAX).unwrap();
    assert_eq!(call.recv().unwrap().unwrap(), 1);
    assert!(call.finish().unwrap().starts_with("stopped at "));
}

#[test]
fn signatures_name_the_streams() {
    let client = StreamsBlockingClient::in_process(Streams);
    let service = client.connection().service();
    let method = service.method("count").unwrap();
    assert_eq!(method.shape, Shape::Download);
    assert_eq!(method.signature, "(u32, StreamSender<u32>) -> Result<String, RowError>");
    assert_eq!(method.params, [("to".to_owned(), "u32".to_owned())]);
    let upload = service.method("sum").unwrap();
    assert_eq!((upload.shape, upload.signature.as_str()), (Shape::Upload, "(StreamReceiver<Row>) -> u64"));
    let duplex = service.method("double").unwrap();
    assert_eq!(duplex.signature, "(u64, StreamReceiver<Row>, StreamSender<Row>) -> ()");
}
