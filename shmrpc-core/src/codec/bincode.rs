//! bincode 2.0.1 through serde, always with a limit: without one a ten-byte frame that claims a vector
//! of 2^60 elements aborts the process.

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Decode, Encode, Encoding};

/// bincode, standard configuration (little endian, variable-length integers).
#[derive(Debug)]
pub enum Bincode {}

/// What a decoder may claim for containers, in bytes.
const LIMIT_BYTES: usize = 256 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT_BYTES>()
}

impl Codec for Bincode {
    const ENCODING: Encoding = Encoding::Bincode;
    type Errors = Self;
}

impl<T: Serialize + ?Sized> Encode<T> for Bincode {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        bincode::serde::encode_into_std_write(value, out, config())
            .map(|_written| ())
            .map_err(|e| CodecError::encoding(Encoding::Bincode, e))
    }
}

impl<T: DeserializeOwned> Decode<T> for Bincode {
    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let (value, used) = bincode::serde::decode_from_slice(bytes, config())
            .map_err(|e| CodecError::decoding(Encoding::Bincode, e))?;
        if used == bytes.len() {
            Ok(value)
        } else {
            Err(CodecError::decoding(
                Encoding::Bincode,
                format_args!("{} bytes after the value", bytes.len() - used),
            ))
        }
    }
}
