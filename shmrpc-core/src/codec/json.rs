//! JSON by serde_json. Its own recursion limit is 128, which is [`super::MAX_DEPTH`].

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Decode, Encode, Encoding};

/// JSON text in UTF-8.
#[derive(Debug)]
pub enum Json {}

impl Codec for Json {
    const ENCODING: Encoding = Encoding::Json;
    type Errors = Self;
}

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(|e| CodecError::encoding(Encoding::Json, e))
    }
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(|e| CodecError::decoding(Encoding::Json, e))
    }
}
