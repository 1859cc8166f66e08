//! Answers of the agent to `check` and over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::sidecar::free_port;
use super::{Run, Scene};

impl Run {
    /// The answer of `check`: whether it is yes, and its one line.
    #[track_caller]
    pub fn answer(&self) -> (bool, String) {
        assert_eq!(self.stderr, "", "a probe's one line is on stdout");
        assert_eq!(self.stdout.matches('\n').count(), 1, "{self:?}");
        assert!(matches!(self.code, Some(0 | 1)), "{self:?}");
        (self.code == Some(0), self.stdout.trim_end().to_owned())
    }
}

impl Scene {
    /// Runs `check`, and returns whether the answer is yes, and its one line.
    #[track_caller]
    pub fn check(&self, question: &str) -> (bool, String) {
        self.run(&["check", question]).answer()
    }

    /// Has agents serve probes and metrics at a free port.
    pub fn listen(&mut self) -> &mut Self {
        self.set("SEGURA_LISTEN", &format!("127.0.0.1:{}", free_port()))
    }

    /// Status and body of a running agent's answer at a path, after [`listen`](Self::listen).
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.env.get("SEGURA_LISTEN").expect("the scene listens");
        let mut stream = TcpStream::connect(address).expect("the agent listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
            .expect("the agent reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the agent answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }
}
