//! bincode 2.0.1 through serde, always within [`Limits`]: without them a ten-byte frame that claims a vector
//! of 2^60 elements keeps a thread busy for ever, or aborts the process.

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Decode, Encode, Encoding, limits::Limits};

/// bincode, standard configuration (little endian, variable-length integers).
#[derive(Debug)]
pub enum Bincode {}

/// Without a limit of bincode's own, which knows neither depth nor what serde's types take: see [`Limits`].
/// Texts are borrowed while they are read, so that a claimed length allocates nothing.
fn config() -> impl bincode::config::Config {
    bincode::config::standard()
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
        let limits = Limits::for_message(bytes.len());
        let (value, used) = bincode::serde::seed_decode_from_slice(limits.seed(), bytes, config())
            .map_err(|e| CodecError::limited(Encoding::Bincode, e, &limits))?;
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
