//! The raw encoding: bytes are the value.

use super::{Codec, CodecError, Decode, Encode, Encoding, Json};

/// Bytes in, bytes out.
#[derive(Debug)]
pub enum Raw {}

impl Codec for Raw {
    const ENCODING: Encoding = Encoding::Raw;
    type Errors = Json;
}

impl<T: AsRef<[u8]> + ?Sized> Encode<T> for Raw {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }
}

impl Decode<Vec<u8>> for Raw {
    fn decode(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}
