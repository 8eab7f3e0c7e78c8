//! MessagePack by rmp-serde. Structs are written as maps with field names, so that other languages
//! read them and a field may be added later. Decoding is within [`Limits`].

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Decode, Encode, Encoding, MAX_DEPTH, limits::Limits};

/// MessagePack.
#[derive(Debug)]
pub enum Msgpack {}

impl Codec for Msgpack {
    const ENCODING: Encoding = Encoding::Msgpack;
    type Errors = Self;
}

impl<T: Serialize + ?Sized> Encode<T> for Msgpack {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(out, value).map_err(|e| CodecError::encoding(Encoding::Msgpack, e))
    }
}

impl<T: DeserializeOwned> Decode<T> for Msgpack {
    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let limits = Limits::for_message(bytes.len());
        let mut rest = bytes;
        let mut decoder = rmp_serde::Deserializer::new(&mut rest);
        // Its own depth does not see enums within enums; ours is met first.
        decoder.set_max_depth(MAX_DEPTH + 2);
        let value =
            limits.read(&mut decoder).map_err(|e| CodecError::limited(Encoding::Msgpack, e, &limits))?;
        match rest.len() {
            0 => Ok(value),
            left => {
                Err(CodecError::decoding(Encoding::Msgpack, format_args!("{left} bytes after the value")))
            }
        }
    }
}
