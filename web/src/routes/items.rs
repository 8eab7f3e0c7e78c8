//! What a caller streams to a method: the body of the request, piece by piece. In JSON each line is an item, after a
//! first one with the arguments; a raw method gets the bytes as they arrive, and no argument.

use std::{pin::pin, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    http::{HeaderValue, StatusCode},
    response::Response,
};
use futures_core::Stream;
use futures_util::{StreamExt as _, stream};
use serde::de::IgnoredAny;
use shmrpc_core::{
    Encoding,
    client::Door,
    method::{MethodDescription, Shape},
};
use tokio::sync::oneshot;

use super::{
    call::{answer, essence, json_array},
    download,
};
use crate::{
    daemon::{Call, CallItems, CallStream, Part},
    options::WebOptions,
    problem::Problem,
    server::Shared,
};

const LINES: &str = "application/x-ndjson";

/// Calls a method that takes a stream.
pub(super) async fn call(
    shared: &Shared,
    service: &str,
    method: &MethodDescription,
    content_type: Option<&HeaderValue>,
    body: Body,
    deadline: Option<Duration>,
) -> Result<Response, Problem> {
    let door = door(method, content_type, body.is_end_stream())?;
    let mut pieces = Pieces::new(body, &shared.options);
    let arguments = match door {
        Door::Json => pieces.line().await?.unwrap_or_default(),
        Door::Native => Bytes::new(),
    };
    let arguments = match door {
        Door::Json => json_array(&arguments)?,
        Door::Native => &arguments,
    };
    let (items, fault) = pieces.into_items(door);
    let call = Call { service, method: &method.name, door, body: arguments, deadline };
    let parts = until_fault(shared.daemon.stream(call, Some(items)).await?, fault);
    if method.shape == Shape::Duplex {
        return Ok(download::answer(method, door, parts));
    }
    let mut parts = pin!(parts);
    while let Some(part) = parts.next().await {
        if let Part::Reply(reply) = part? {
            return answer(method, door, reply);
        }
    }
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call ended without a reply"))
}

/// As [`super::call`]'s, for bodies that are streams. One that is empty stands for no arguments and no items.
fn door(
    method: &MethodDescription,
    content_type: Option<&HeaderValue>,
    is_empty: bool,
) -> Result<Door, Problem> {
    let (door, taken) = match method.encoding {
        Encoding::Raw => (Door::Native, Encoding::Raw.content_type()),
        _ => (Door::Json, LINES),
    };
    let what = match content_type {
        None if is_empty => return Ok(door),
        None => "a body without content type",
        Some(content_type) if essence(content_type) == taken => return Ok(door),
        Some(content_type) => content_type.to_str().unwrap_or_default(),
    };
    let detail = format!("{} takes a stream: {taken}, not {what}", method.name);
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

/// The body as it arrives.
struct Pieces {
    body: BodyDataStream,
    /// What has arrived and is not part of a line yet.
    rest: Bytes,
    /// Lines that were taken.
    lines: u64,
    max_line_bytes: usize,
    /// For how long the next piece is waited for.
    patience: Duration,
}

impl Pieces {
    fn new(body: Body, options: &WebOptions) -> Self {
        Self {
            body: body.into_data_stream(),
            rest: Bytes::new(),
            lines: 0,
            max_line_bytes: options.max_body_bytes,
            patience: options.body_timeout,
        }
    }

    /// The next piece; `None` at the end of the body.
    async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        match tokio::time::timeout(self.patience, self.body.next()).await {
            Ok(piece) => piece.transpose().map_err(|e| Problem::bad_request("bad-request", e.to_string())),
            Err(_) => {
                let detail = format!("nothing more of the body arrived within {:?}", self.patience);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
            }
        }
    }

    /// The next line that is not blank, without its end; `None` after the last.
    async fn line(&mut self) -> Result<Option<Bytes>, Problem> {
        // Of a line that does not lie in one piece.
        let mut begun = Vec::new();
        loop {
            let end = self.rest.iter().position(|&byte| byte == b'\n');
            let mut line = self.rest.split_to(end.unwrap_or(self.rest.len()));
            if begun.len() + line.len() > self.max_line_bytes {
                let detail = format!("line {}: more than {} bytes", self.lines + 1, self.max_line_bytes);
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
            }
            if !begun.is_empty() || end.is_none() {
                begun.extend_from_slice(&line);
            }
            if end.is_some() {
                let _its_end = self.rest.split_to(1);
            } else if let Some(piece) = self.piece().await? {
                self.rest = piece;
                continue;
            } else if begun.is_empty() {
                return Ok(None);
            }
            if !begun.is_empty() {
                line = std::mem::take(&mut begun).into();
            }
            self.lines += 1;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    async fn item(&mut self, door: Door) -> Result<Option<Bytes>, Problem> {
        if door == Door::Native {
            return self.piece().await;
        }
        let line = self.line().await?;
        if let Some(line) = &line
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(line)
        {
            let detail = format!("line {}: {error}", self.lines);
            return Err(Problem::bad_request("bad-arguments", detail));
        }
        Ok(line)
    }

    /// What is left of the body as items, and what was wrong with it, should something be: they end there.
    fn into_items(self, door: Door) -> (CallItems, oneshot::Receiver<Problem>) {
        let (tell, fault) = oneshot::channel();
        let items = stream::unfold(Some((self, tell)), move |left| async move {
            let (mut pieces, tell) = left?;
            match pieces.item(door).await {
                Ok(item) => Some((Ok(item?), Some((pieces, tell)))),
                Err(problem) => {
                    let reason = problem.detail.clone();
                    // Nobody listens any more when the call is over.
                    let _ = tell.send(problem);
                    Some((Err(reason), None))
                }
            }
        });
        (Box::pin(items), fault)
    }
}

/// What comes of a call, up to a fault of its body: the call is cancelled then.
fn until_fault(
    parts: CallStream,
    fault: oneshot::Receiver<Problem>,
) -> impl Stream<Item = Result<Part, Problem>> + Send {
    stream::unfold(Some((parts, fault)), async |left| {
        let (mut parts, mut fault) = left?;
        let part = tokio::select! {
            Ok(problem) = &mut fault, if !fault.is_terminated() => return Some((Err(problem), None)),
            part = parts.next() => part?,
        };
        // The service is told of a fault, too; what it says of that is not what is wrong.
        match fault.try_recv() {
            Ok(problem) => Some((Err(problem), None)),
            Err(_) => Some((part.map_err(Problem::from), Some((parts, fault)))),
        }
    })
}
