//! `shmrpc call`: JSON values or bytes in, JSON or bytes out; streams in [`stream`].

mod stream;

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use serde_json::{Value, value::RawValue};
use shmrpc_core::{
    Door, Encoding, Status,
    method::{MethodDescription, Shape},
};

use super::{
    args::{CallArgs, Reach},
    failure::{Exit, Failure},
    target,
};

/// Calls once and writes the reply.
pub(super) fn run(args: &CallArgs, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    // Everything that needs no service is checked before one is asked.
    let arguments = json_array(&args.arguments)?;
    let connection = target::connect(&args.endpoint, reach, args.deadline, args.compress)?;
    let service = connection.service();
    let method = target::method(&service, &args.method)?;
    let (door, payload) = match &args.raw {
        Some(path) if method.encoding == Encoding::Raw => (Door::Native, read_bytes(path)?),
        Some(_) => {
            return Err(Failure::usage(format!(
                "{} is a {} method: give its arguments as JSON values, not as --raw",
                method.name, method.encoding
            )));
        }
        None if method.encoding == Encoding::Raw => {
            return Err(Failure::usage(format!(
                "{} takes bytes: give them as --raw FILE, or --raw - for standard input",
                method.name
            )));
        }
        None => {
            check_count(method, args.arguments.len())?;
            (Door::Json, arguments.into_bytes())
        }
    };
    let reply = match method.shape {
        Shape::Unary => connection.call_bytes_blocking(method.into(), door, &payload).map_err(Failure::from),
        Shape::Upload | Shape::Duplex if args.raw.as_deref() == Some(Path::new("-")) => {
            return Err(Failure::usage(format!(
                "{} takes its items from standard input: give its argument as --raw FILE",
                method.name
            )));
        }
        _ => stream::run(&connection, method, door, &payload, out),
    }
    .map_err(|failure| {
        let refused_arguments = failure.code() == Exit::Usage as u8;
        let hint =
            if refused_arguments { format!("it is {}", target::usage_of(method)) } else { String::new() };
        failure.about(&method.name).hint(&hint)
    })?;
    if reply.status != Status::Ok {
        let error = String::from_utf8_lossy(&reply.body);
        return Err(Failure::new(
            Exit::Service,
            format!("{}.{} answered with an error: {error}", service.name, method.name),
        ));
    }
    out.write_all(&reply.body).map_err(Failure::output)?;
    if door == Door::Json {
        out.write_all(b"\n").map_err(Failure::output)?;
    }
    Ok(())
}

/// The arguments as one JSON array. Each is checked, and passed on as it was written: no number is rounded.
fn json_array(arguments: &[String]) -> Result<String, Failure> {
    let mut values = Vec::new();
    for (index, text) in arguments.iter().enumerate() {
        let value: Box<RawValue> = serde_json::from_str(text).map_err(|error| {
            let quoted = Value::from(text.as_str());
            Failure::usage(format!(
                "argument {} is not JSON: {error}; for a text write '{quoted}'",
                index + 1
            ))
        })?;
        values.push(value.get().to_owned());
    }
    Ok(format!("[{}]", values.join(",")))
}

fn check_count(method: &MethodDescription, given: usize) -> Result<(), Failure> {
    let wanted = method.params.len();
    if given == wanted {
        return Ok(());
    }
    let plural = if wanted == 1 { "" } else { "s" };
    Err(Failure::usage(format!(
        "{} takes {wanted} argument{plural}, not {given}: {}",
        method.name,
        target::usage_of(method)
    )))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::new(Exit::Other, format!("reading standard input: {error}")))?;
        return Ok(bytes);
    }
    fs::read(path).map_err(|error| Failure::usage(format!("reading {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_passed_on_as_written() {
        let arguments = ["1.10", "\"a\"", " {\"b\": 12345678901234567890} "].map(str::to_owned);
        assert_eq!(json_array(&arguments).unwrap(), "[1.10,\"a\",{\"b\": 12345678901234567890}]");
        assert_eq!(json_array(&[]).unwrap(), "[]");
    }

    #[test]
    fn a_bare_word_is_explained() {
        let failure = json_array(&["1".into(), "hello".into()]).unwrap_err();
        assert_eq!(failure.code(), 2);
        let text = failure.to_string();
        assert!(text.contains("argument 2") && text.contains("'\"hello\"'"), "{text}");
    }
}
