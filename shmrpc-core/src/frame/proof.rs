//! How two peers prove to each other that they know a shared secret, without saying it: each computes
//! HMAC-SHA-256 under the secret over its role, the nonces of both, and what was said in the handshake. Roles
//! differ, so that neither can send the other's proof back; nonces are fresh, so that no proof is of use
//! twice. Pure: nonces come in from outside.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Length of a nonce, and of a proof.
pub const PROOF_BYTES: usize = 32;

/// The one scheme there is, as Hello names it.
pub const SCHEME: &str = "hmac-sha256";

/// `auth` in a Hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// [`SCHEME`].
    pub scheme: String,
    /// The client's nonce: 64 hexadecimal digits.
    pub nonce: String,
}

/// A nonce.
pub type Nonce = [u8; PROOF_BYTES];

/// What both sides have seen of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// From the Hello.
    pub client_nonce: Nonce,
    /// From the Challenge.
    pub server_nonce: Nonce,
    /// The body of the Hello.
    pub hello: &'a [u8],
}

impl Transcript<'_> {
    /// What a client sends.
    #[must_use]
    pub fn client_proof(&self, secret: &[u8]) -> [u8; PROOF_BYTES] {
        self.mac(secret, CLIENT, None).finalize().into_bytes().into()
    }

    /// What a server sends; `welcome` is the body of the Welcome that follows.
    #[must_use]
    pub fn server_proof(&self, secret: &[u8], welcome: &[u8]) -> [u8; PROOF_BYTES] {
        self.mac(secret, SERVER, Some(welcome)).finalize().into_bytes().into()
    }

    /// Whether a client has proved that it knows the secret. Takes as long whatever is wrong.
    #[must_use]
    pub fn is_client_proof(&self, secret: &[u8], proof: &[u8]) -> bool {
        self.mac(secret, CLIENT, None).verify_slice(proof).is_ok()
    }

    /// The same for a server and its Welcome.
    #[must_use]
    pub fn is_server_proof(&self, secret: &[u8], welcome: &[u8], proof: &[u8]) -> bool {
        self.mac(secret, SERVER, Some(welcome)).verify_slice(proof).is_ok()
    }

    fn mac(&self, secret: &[u8], role: &[u8], welcome: Option<&[u8]>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(role);
        mac.update(&self.client_nonce);
        mac.update(&self.server_nonce);
        mac.update(&Sha256::digest(self.hello));
        if let Some(welcome) = welcome {
            mac.update(&Sha256::digest(welcome));
        }
        mac
    }
}

const CLIENT: &[u8] = b"shmrpc 1 client\0";
const SERVER: &[u8] = b"shmrpc 1 server\0";

/// A nonce as 64 hexadecimal digits.
#[must_use]
pub fn to_hex(nonce: &Nonce) -> String {
    use std::fmt::Write;
    nonce.iter().fold(String::with_capacity(2 * PROOF_BYTES), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// And back.
#[must_use]
pub fn from_hex(text: &str) -> Option<Nonce> {
    let digits = text.as_bytes();
    if digits.len() != 2 * PROOF_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut nonce = [0; PROOF_BYTES];
    for (byte, pair) in nonce.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_its_role_its_nonces_and_its_words_alone() {
        let secret = b"0123456789abcdef";
        let said = Transcript { client_nonce: [1; 32], server_nonce: [2; 32], hello: b"hello" };
        let (client, server) = (said.client_proof(secret), said.server_proof(secret, b"welcome"));
        assert!(said.is_client_proof(secret, &client) && said.is_server_proof(secret, b"welcome", &server));
        // Reflected, shortened, under another secret.
        assert!(!said.is_client_proof(secret, &server) && !said.is_server_proof(secret, b"welcome", &client));
        assert!(!said.is_client_proof(secret, &client[..31]) && !said.is_client_proof(secret, b""));
        assert!(!said.is_client_proof(b"0123456789abcdeg", &client));
        // Replayed, or with other words.
        assert!(!Transcript { server_nonce: [3; 32], ..said }.is_client_proof(secret, &client));
        assert!(!Transcript { client_nonce: [3; 32], ..said }.is_server_proof(secret, b"welcome", &server));
        assert!(!Transcript { hello: b"hallo", ..said }.is_client_proof(secret, &client));
        assert!(!said.is_server_proof(secret, b"Welcome", &server));
    }

    #[test]
    fn nonces_are_written_in_full() {
        let nonce = std::array::from_fn(|n| n as u8);
        assert_eq!(from_hex(&to_hex(&nonce)), Some(nonce));
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"+1".repeat(32)] {
            assert_eq!(from_hex(wrong), None);
        }
    }
}
