//! HTTP/1 as probes and scrapers speak it: one request, one answer, and the connection ends. Pure.

/// The longest head of a request, in bytes. Probes send some hundred.
const LONGEST_HEAD: usize = 16 * 1024;
/// The longest request line, in bytes. The three paths are short; a query is ignored.
const LONGEST_LINE: usize = 2 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";

/// The head of a request that arrives in parts. Of it, only the first line is kept.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The request line so far, without its line end.
    line: Vec<u8>,
    has_line: bool,
    /// The present line holds a character.
    in_field: bool,
    bytes: usize,
}

/// The state of a request after another part of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// More must come.
    Partial,
    /// The head is complete.
    Asked(Asked),
    /// The request can't be answered otherwise than with this status.
    Refused(u16),
}

/// The question of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path, without a query.
    pub path: String,
    /// The part of the answer that is asked for.
    pub wants: Wants,
}

/// The part of an answer that a method asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// GET.
    Whole,
    /// HEAD: the head alone (RFC 9110, section 9.3.2).
    Head,
}

impl RequestHead {
    /// Takes another part of the head; bytes after its end are ignored, since no body is read.
    pub fn take(&mut self, part: &[u8]) -> Arrival {
        for byte in part {
            self.bytes += 1;
            if let Some(arrival) = self.take_byte(*byte) {
                return arrival;
            }
        }
        Arrival::Partial
    }

    fn take_byte(&mut self, byte: u8) -> Option<Arrival> {
        if self.bytes > LONGEST_HEAD {
            return Some(Arrival::Refused(431));
        }
        if self.has_line {
            match byte {
                // An empty line ends the head; a line may end without a CR (RFC 9112, section 2.2).
                b'\n' if !self.in_field => return Some(self.asked()),
                b'\n' => self.in_field = false,
                b'\r' => {}
                _ => self.in_field = true,
            }
            return None;
        }
        match byte {
            b'\r' | b'\n' if self.line.is_empty() => {
                // Empty lines before a request are ignored (RFC 9112, section 2.2).
            }
            b'\n' => {
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
                self.has_line = true;
                if let Err(status) = parsed(&self.line) {
                    return Some(Arrival::Refused(status));
                }
            }
            // A method begins with a letter, the greeting of TLS with 0x16.
            _ if self.line.is_empty() && !byte.is_ascii_uppercase() => {
                return Some(Arrival::Refused(400));
            }
            _ if self.line.len() >= LONGEST_LINE => return Some(Arrival::Refused(414)),
            _ => self.line.push(byte),
        }
        None
    }

    fn asked(&self) -> Arrival {
        match parsed(&self.line) {
            Ok(asked) => Arrival::Asked(asked),
            Err(status) => Arrival::Refused(status),
        }
    }
}

/// Parses a request line, or gives the status that refuses it.
fn parsed(line: &[u8]) -> Result<Asked, u16> {
    let line = std::str::from_utf8(line).map_err(|_| 400_u16)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(400);
    };
    if !version.starts_with("HTTP/") || target.is_empty() {
        return Err(400);
    }
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(505);
    }
    let wants = match method {
        "GET" => Wants::Whole,
        "HEAD" => Wants::Head,
        _ => return Err(405),
    };
    // A proxy may send the whole URL (RFC 9112, section 3.2.2).
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    Ok(Asked { path: path.to_owned(), wants })
}

/// Writes an answer, which ends its connection; `date` is the present time as HTTP writes it.
pub fn written(status: u16, content_type: &str, body: &str, date: &str, wants: Wants) -> Vec<u8> {
    let reason = reason(status);
    let length = body.len();
    // A 405 must name the methods that are allowed (RFC 9110, section 15.5.6).
    let allow = if status == 405 { "allow: GET, HEAD\r\n" } else { "" };
    let mut answer = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{allow}content-length: {length}\r\nconnection: close\r\ndate: {date}\r\n\r\n"
    );
    if wants == Wants::Whole {
        answer.push_str(body);
    }
    answer.into_bytes()
}

/// Writes the answer to a request that is refused.
pub fn refusal(status: u16, date: &str, wants: Wants) -> Vec<u8> {
    let body = match status {
        404 => "there are /livez, /readyz and /metrics\n",
        405 => "only GET and HEAD\n",
        _ => "this is no request of a probe\n",
    };
    written(status, TEXT, body, date, wants)
}

/// The phrase of a status (RFC 9110, section 15; RFC 6585, section 5).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> Arrival {
        RequestHead::default().take(text)
    }

    fn asks(path: &str, wants: Wants) -> Arrival {
        Arrival::Asked(Asked { path: path.to_owned(), wants })
    }

    #[test]
    fn a_request_is_read_as_it_arrives() {
        let cases: [(&[u8], Arrival); 19] = [
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", asks("/livez", Wants::Whole)),
            (b"HEAD /readyz?verbose HTTP/1.0\r\n\r\n", asks("/readyz", Wants::Head)),
            (b"GET /metrics HTTP/1.1\nHost: x\nA: b\n\n", asks("/metrics", Wants::Whole)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", asks("/", Wants::Whole)),
            (b"GET http://pod:9102/livez HTTP/1.1\r\n\r\n", asks("/livez", Wants::Whole)),
            (b"GET http://pod HTTP/1.1\r\n\r\n", asks("/", Wants::Whole)),
            (b"GET /livez HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1", asks("/livez", Wants::Whole)),
            (b"", Arrival::Partial),
            (b"GE", Arrival::Partial),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n", Arrival::Partial),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r", Arrival::Partial),
            (b"POST /livez HTTP/1.1\r\n", Arrival::Refused(405)),
            (b"GET /livez\r\n", Arrival::Refused(400)),
            (b"GET  HTTP/1.1\r\n", Arrival::Refused(400)),
            (b"GET / x HTTP/1.1\r\n", Arrival::Refused(400)),
            (b"GET /\xff HTTP/1.1\r\n", Arrival::Refused(400)),
            (b"\x16\x03\x01", Arrival::Refused(400)),
            (b"PRI * HTTP/2.0\r\n\r\n", Arrival::Refused(505)),
            (b"GET / HTTP/9\r\n", Arrival::Refused(505)),
        ];
        for (text, expected) in cases {
            assert_eq!(whole(text), expected, "{}", text.escape_ascii());
            // The same, byte by byte.
            let mut head = RequestHead::default();
            let mut bytes = text.iter().map(|byte| head.take(&[*byte]));
            let last = bytes.find(|arrival| *arrival != Arrival::Partial);
            assert_eq!(last.unwrap_or(Arrival::Partial), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused_and_takes_no_memory() {
        assert_eq!(whole(&[b'A'; 1 << 20]), Arrival::Refused(414));
        let endless = [&b"GET /livez HTTP/1.1\r\n"[..], &[b'a'; 1 << 20]].concat();
        let mut head = RequestHead::default();
        assert_eq!(head.take(&endless), Arrival::Refused(431));
        assert!(head.line.capacity() <= 2 * LONGEST_LINE);
        assert_eq!(whole(&[b'\n'; 1 << 20]), Arrival::Refused(431));
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_that_it_is_the_last() {
        let date = "Sun, 30 Nov 2026 07:48:56 GMT";
        let text = |wants| String::from_utf8(written(200, TEXT, "yes\n", date, wants)).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {TEXT}\r\ncontent-length: 4\r\nconnection: close\r\ndate: {date}\r\n\r\n"
        );
        assert_eq!(text(Wants::Head), head);
        assert_eq!(text(Wants::Whole), format!("{head}yes\n"));
        for status in [400, 404, 405, 414, 431, 505] {
            let answer = String::from_utf8(refusal(status, date, Wants::Whole)).unwrap();
            assert!(!reason(status).is_empty() && answer.contains(reason(status)), "{answer}");
            assert_eq!(answer.contains("allow: GET, HEAD\r\n"), status == 405, "{answer}");
        }
    }
}
