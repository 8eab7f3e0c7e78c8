//! Who may come in, and the handshake: what happens to a connection before it is a [`Peer`](super::peer::Peer).

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::Shared;
use crate::{
    error::Status,
    frame::{
        DEFAULT_WINDOW_BYTES, Frame, MAX_WINDOW_BYTES, VERSION,
        handshake::{Hello, NONE, SNAPPY, Welcome},
        proof::{Nonce, SCHEME, Transcript, from_hex},
    },
    peer_uid,
    secret::Secret,
    transport::{
        session::SessionLimits,
        tcp::{
            introduction, tls,
            wire::{Unsecured, Wire},
        },
    },
};

/// How long a peer that is turned away has to hear why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a connection is declined.
pub(super) struct Declined(pub(super) Status, pub(super) String);

/// What was agreed on.
pub(super) struct Agreed {
    pub(super) limits: SessionLimits,
    pub(super) compress: bool,
}

/// Tells a peer that there is no room for it. It is told over TLS, if that is what is spoken here.
pub(super) async fn turn_away(shared: &Shared, stream: TcpStream, declined: Declined) {
    let told = async {
        if let Some(wire) = secure(shared, stream).await {
            refuse(wire, declined).await;
        }
    };
    let _time_is_over = timeout(LAST_WORDS, told).await;
}

/// Lets a peer in, or says why not.
pub(super) async fn introduce(
    shared: &Shared,
    stream: TcpStream,
    from: SocketAddr,
) -> Option<(Wire, Agreed)> {
    // One time for all: a peer that is slow in one handshake has less for the other.
    let until = Instant::now() + shared.options.handshake_timeout;
    let local = stream.local_addr().ok()?;
    // Who has not come so far in time cannot be told so.
    let mut wire = timeout_at(until, secure(shared, stream)).await.ok()??;
    let introduced = async {
        admit(shared, local, from).await?;
        handshake(shared, &mut wire).await
    };
    let introduced = timeout_at(until, introduced)
        .await
        .unwrap_or_else(|_| Err(Declined(Status::DeadlineExceeded, "no handshake came in time".into())));
    match introduced {
        Ok(agreed) => Some((wire, agreed)),
        Err(declined) => {
            refuse(wire, declined).await;
            None
        }
    }
}

/// The TLS handshake, if there is to be one. A peer with which there is none has been told so.
async fn secure(shared: &Shared, stream: TcpStream) -> Option<Wire> {
    let Some(server_tls) = &shared.options.tls else { return Some(Wire::Clear(stream)) };
    match tls::accept(server_tls, stream).await {
        Ok(stream) => Some(Wire::Tls(stream)),
        Err(Unsecured::Clear(stream)) => {
            let reason = "TLS is spoken here: connect to tls://";
            refuse(Wire::Clear(stream), Declined(Status::Protocol, reason.into())).await;
            None
        }
        Err(Unsecured::Alerted(stream)) => {
            let _time_is_over = timeout(LAST_WORDS, linger(&mut Wire::Clear(stream))).await;
            None
        }
    }
}

/// Tells a peer that it is not served, and closes.
async fn refuse(mut wire: Wire, Declined(status, reason): Declined) {
    let until_read = async {
        introduction::write(&mut wire, Frame::Refuse { status, reason }).await?;
        linger(&mut wire).await
    };
    let _time_is_over = timeout(LAST_WORDS, until_read).await;
}

/// Closes when the peer does: what it has sent is read and dropped, as unread bytes would make the kernel take our
/// words back.
async fn linger(wire: &mut Wire) -> std::io::Result<()> {
    wire.shutdown().await?;
    let mut dropped = [0; 4096];
    while wire.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// Whether this peer may come in at all.
async fn admit(shared: &Shared, local: SocketAddr, from: SocketAddr) -> Result<(), Declined> {
    let options = &shared.options;
    if options.authenticates() {
        return Ok(());
    }
    if !from.ip().to_canonical().is_loopback() {
        let reason = "peers on other machines are not allowed here";
        return if options.allow_remote { Ok(()) } else { Err(Declined(Status::Refused, reason.into())) };
    }
    if options.allow_any_local_user {
        return Ok(());
    }
    let found = tokio::task::spawn_blocking(move || peer_uid::of_connection(from, local)).await;
    let uid = match found {
        Ok(Ok(Some(uid))) => uid,
        _ => return Err(Declined(Status::Refused, "your user id cannot be determined".into())),
    };
    if uid == 0 || uid == nix::unistd::geteuid().as_raw() || options.allow_uids.contains(&uid) {
        return Ok(());
    }
    Err(Declined(Status::Refused, format!("user id {uid} is not allowed here")))
}

async fn handshake(shared: &Shared, stream: &mut Wire) -> Result<Agreed, Declined> {
    let protocol = |reason: String| Declined(Status::Protocol, reason);
    let received = introduction::read(stream).await.map_err(|error| protocol(error.to_string()))?;
    let Frame::Hello(hello_body) = received else {
        return Err(protocol("the first frame must be a Hello".into()));
    };
    let hello: Hello = serde_json::from_slice(&hello_body)
        .map_err(|error| protocol(format!("your Hello cannot be understood: {error}")))?;
    if hello.version != VERSION {
        let theirs = hello.version;
        return Err(protocol(format!("version {theirs} is not spoken here, version {VERSION} is")));
    }
    if hello.stream_window_bytes > MAX_WINDOW_BYTES {
        return Err(protocol(format!("stream_window_bytes may be {MAX_WINDOW_BYTES} at most")));
    }
    let options = &shared.options;
    let proved = match &options.secret {
        Some(secret) => Some((challenge(secret, &hello, &hello_body, stream).await?, secret)),
        None => None,
    };
    let service = shared.upstream.service();
    if let Some(wanted) = &hello.service
        && *wanted != service.name
        && Some(wanted) != options.service.as_ref()
    {
        let reason = format!("{wanted} is not served here, {} is", service.name);
        return Err(Declined(Status::NoSuchMethod, reason));
    }
    let compress = options.compress && hello.compression.iter().any(|kind| kind == SNAPPY);
    let welcome = Welcome {
        version: VERSION,
        service: service.as_ref().clone(),
        max_message_bytes: options.message_limit_bytes(),
        stream_window_bytes: DEFAULT_WINDOW_BYTES,
        max_in_flight: options.max_in_flight,
        compression: if compress { SNAPPY } else { NONE }.into(),
    };
    let internal = |error: String| Declined(Status::Internal, error);
    let body = serde_json::to_vec(&welcome).map_err(|error| internal(error.to_string()))?;
    if let Some((nonces, secret)) = proved {
        let proof = nonces.transcript(&hello_body).server_proof(secret.bytes(), &body);
        let sent = introduction::write(stream, Frame::Proof(Bytes::copy_from_slice(&proof))).await;
        sent.map_err(|error| internal(error.to_string()))?;
    }
    let sent = introduction::write(stream, Frame::Welcome(body.into())).await;
    sent.map_err(|error| internal(error.to_string()))?;
    let limits = SessionLimits {
        our_window_bytes: DEFAULT_WINDOW_BYTES,
        peer_window_bytes: hello.stream_window_bytes,
        peer_max_message_bytes: hello.max_message_bytes.min(options.message_limit_bytes()),
    };
    Ok(Agreed { limits, compress })
}

/// The nonces of a handshake.
struct Nonces {
    client: Nonce,
    server: Nonce,
}

impl Nonces {
    fn transcript<'a>(&self, hello: &'a [u8]) -> Transcript<'a> {
        Transcript { client_nonce: self.client, server_nonce: self.server, hello }
    }
}

/// Has the client prove that it knows the secret, before it is told anything.
async fn challenge(
    secret: &Secret,
    hello: &Hello,
    hello_body: &[u8],
    stream: &mut Wire,
) -> Result<Nonces, Declined> {
    let refused = |reason: &str| Declined(Status::Refused, reason.into());
    let auth = hello.auth.as_ref().ok_or_else(|| refused("a shared secret is asked for here"))?;
    let client = from_hex(&auth.nonce).filter(|_| auth.scheme == SCHEME);
    let client = client.ok_or_else(|| refused("the shared secret is proved by hmac-sha256 here"))?;
    let internal = |error: std::io::Error| Declined(Status::Internal, error.to_string());
    let server = introduction::nonce().map_err(internal)?;
    let sent = introduction::write(stream, Frame::Challenge(Bytes::copy_from_slice(&server))).await;
    sent.map_err(internal)?;
    let nonces = Nonces { client, server };
    let answer = introduction::read(stream).await;
    let answer = answer.map_err(|error| Declined(Status::Protocol, error.to_string()))?;
    match answer {
        Frame::Proof(proof) if nonces.transcript(hello_body).is_client_proof(secret.bytes(), &proof) => {
            Ok(nonces)
        }
        Frame::Proof(_) => Err(refused("that is not the shared secret")),
        _ => Err(Declined(Status::Protocol, "a Challenge is answered by a Proof".into())),
    }
}
