//! Holds values that must never be shown: wiped when dropped, redacted in `Debug`.
//!
//! The types can't be displayed, compared, cloned or serialized; [`Secret::expose`] is the only way
//! to the value.

use std::fmt;
use std::io;

use ring::digest;
use zeroize::Zeroize;

/// SHA-256 of `bytes`, in hexadecimal: tells values apart without showing them.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value that is wiped from memory when dropped and can't be shown by accident.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Lends the value to be changed in place.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// Lends the value; each call is a place to review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for Secret<String> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A growing buffer that wipes the old allocation each time it moves to a larger one.
#[derive(Debug)]
pub struct SecretBuf(Secret<Vec<u8>>);

impl SecretBuf {
    /// An empty buffer that holds `capacity` bytes before it first moves.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Secret::new(Vec::with_capacity(capacity)))
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        let held = &mut self.0.0;
        let needed = held.len().saturating_add(bytes.len());
        if needed > held.capacity() {
            let mut larger = Vec::with_capacity(needed.max(held.capacity().saturating_mul(2)));
            larger.extend_from_slice(held);
            held.zeroize();
            *held = larger;
        }
        held.extend_from_slice(bytes);
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.expose().len()
    }

    /// True if it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, as a secret.
    pub fn into_secret(self) -> Secret<Vec<u8>> {
        self.0
    }
}

impl io::Write for SecretBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        let mut buffer = SecretBuf::with_capacity(1);
        buffer.push(b"hunter2");
        assert!(!format!("{buffer:?}").contains("hunter2"));
        assert!(!format!("{buffer:?}").contains("104"));
    }

    #[test]
    fn a_buffer_keeps_its_bytes_through_growth() {
        let mut buffer = SecretBuf::with_capacity(2);
        for piece in [b"ab".as_slice(), b"cde", b"", b"f"] {
            buffer.push(piece);
        }
        assert_eq!(buffer.len(), 6);
        assert_eq!(buffer.into_secret().expose(), b"abcdef");
    }
}
