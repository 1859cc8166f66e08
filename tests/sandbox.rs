//! The sandbox of `sidecar`: what it denies, what goes on in it, and what the kernel says of the
//! process itself.

mod swap;
