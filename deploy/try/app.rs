//! An app for deploy/try: reads its password from a file, and again at each notification.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;

const PASSWORD: &str = "/run/secrets/segura/payments/database/password";

fn main() -> io::Result<()> {
    // The agent posts here after each change: SEGURA_NOTIFY_URL.
    let listener = TcpListener::bind("127.0.0.1:8080")?;
    show("starts")?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        let mut head = [0; 1024];
        let read = connection.read(&mut head)?;
        if head.get(..read).is_some_and(|head| head.starts_with(b"POST /-/reload ")) {
            show("is notified")?;
        }
        connection.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    }
    Ok(())
}

/// What no app should do with a password that is worth something.
fn show(event: &str) -> io::Result<()> {
    writeln!(io::stdout(), "the app {event}: its password is {}", fs::read_to_string(PASSWORD)?)
}
