//! The vendor's own clients against the development vault: their exact requests, byte for byte as
//! their HTTP libraries write them, and answers decoded as strictly as they do.

#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test that called it")]

mod curl;
mod eso;
mod go;
mod historic;
mod runb;
mod rust_client;
