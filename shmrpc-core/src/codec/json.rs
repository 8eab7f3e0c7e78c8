//! JSON by serde_json, within [`Limits`], whose depth takes the place of serde_json's own.

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Decode, Encode, Encoding, limits::Limits};

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
        let limits = Limits::for_message(bytes.len());
        let mut decoder = serde_json::Deserializer::from_slice(bytes);
        decoder.disable_recursion_limit();
        let value = limits.read(&mut decoder);
        value
            .and_then(|value| decoder.end().map(|()| value))
            .map_err(|e| CodecError::limited(Encoding::Json, e, &limits))
    }
}
