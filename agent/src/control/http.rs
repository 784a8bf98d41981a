//! Just enough of HTTP/1.1 for a control socket: one request, one answer in JSON, and the connection closes.

use serde::Serialize;

/// Longest request line with all its headers.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longest body: what one command may change at a time.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Without the query.
    pub path: String,
    pub body: Vec<u8>,
}

/// Why a request is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is not HTTP/1.1")]
    NotHttp,
    #[error("only GET and POST are known here")]
    Method,
    #[error("a body has to say its length here, once, and belongs to a POST")]
    Body,
    #[error("the body is longer than {BODY_BYTES_MAX} bytes")]
    BodyTooLong,
    #[error("the request is longer than {HEAD_BYTES_MAX} bytes")]
    TooLong,
}

impl Refusal {
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::NotHttp => 400,
            Self::Method => 405,
            Self::Body => 411,
            Self::BodyTooLong => 413,
            Self::TooLong => 431,
        }
    }
}

/// The request that `bytes` begin with, once all of it is there.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= HEAD_BYTES_MAX => head,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TooLong);
        }
        Err(_) => return Err(Refusal::NotHttp),
    };
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some(_) | None => return Err(Refusal::Method),
    };
    let length = body_length(request.headers)?;
    if length > 0 && method == Method::Get {
        return Err(Refusal::Body);
    }
    let path = request.path.unwrap_or("/").split('?').next().unwrap_or("/");
    let body = bytes.get(head..head + length);
    Ok(body.map(|body| Request { method, path: path.to_owned(), body: body.to_vec() }))
}

fn body_length(headers: &[httparse::Header<'_>]) -> Result<usize, Refusal> {
    let called = |header: &httparse::Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    if headers.iter().any(|header| called(header, "transfer-encoding")) {
        return Err(Refusal::Body);
    }
    let mut lengths = headers.iter().filter(|header| called(header, "content-length"));
    let Some(length) = lengths.next() else { return Ok(0) };
    if lengths.next().is_some() {
        return Err(Refusal::Body);
    }
    let digits = length.value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Body);
    }
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
    length.filter(|length| *length <= BODY_BYTES_MAX).ok_or(Refusal::BodyTooLong)
}

/// What is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    body: String,
}

#[derive(Serialize)]
struct Said<'a> {
    error: &'a str,
}

impl Answer {
    #[must_use]
    pub fn json<T: Serialize>(code: u16, value: &T) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { code, body: body + "\n" },
            Err(error) => {
                Self { code: 500, body: format!("{{\"error\":\"failed to write JSON at {}\"}}\n", error.line()) }
            }
        }
    }

    #[must_use]
    pub fn error(code: u16, error: &str) -> Self {
        Self::json(code, &Said { error })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let reason = match self.code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            411 => "Length Required",
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            431 => "Request Header Fields Too Large",
            _ => "Error",
        };
        let (code, len) = (self.code, self.body.len());
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        (head + &self.body).into_bytes()
    }
}

/// The code and the body of an answer, as the other side of `encode` reads it; `None` if this is no whole answer.
#[must_use]
pub fn read_answer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).ok()? else { return None };
    let code = response.code?;
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = std::str::from_utf8(length.value).ok()?.trim().parse().ok()?;
    bytes.get(head..head.checked_add(length)?).map(|body| (code, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_curl_sends_is_understood_byte_by_byte() {
        let sent = b"GET /v1/status?x=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";
        for len in 0..sent.len() {
            assert_eq!(parse(&sent[..len]), Ok(None), "{len}");
        }
        let asked =
            |method, path: &str, body: &[u8]| Ok(Some(Request { method, path: path.into(), body: body.into() }));
        assert_eq!(parse(sent), asked(Method::Get, "/v1/status", b""));
        let posted = b"POST /v1/promote/hub HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(posted), asked(Method::Post, "/v1/promote/hub", b""));
        let body = b"POST /v1/edit HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        for len in 0..body.len() {
            assert_eq!(parse(&body[..len]), Ok(None), "{len}");
        }
        assert_eq!(parse(body), asked(Method::Post, "/v1/edit", b"{}"));
        assert_eq!(parse(&[&body[..], b"more"].concat()), asked(Method::Post, "/v1/edit", b"{}"));
    }

    #[test]
    fn what_is_not_a_plain_request_is_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let long = vec![b'a'; HEAD_BYTES_MAX];
        for (bytes, refusal) in [
            (&b"\x10\x0c\0\x04MQTT\x04\x02\0\0"[..], Refusal::NotHttp),
            (b"DELETE / HTTP/1.1\r\n\r\n", Refusal::Method),
            (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", Refusal::Body),
            (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", Refusal::Body),
            (b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", Refusal::Body),
            (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", Refusal::BodyTooLong),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", Refusal::BodyTooLong),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Body),
            (many.as_bytes(), Refusal::TooLong),
            (&long, Refusal::TooLong),
        ] {
            assert_eq!(parse(bytes), Err(refusal), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_answer_is_read_back_whole_or_not_at_all() {
        let encoded = Answer::error(404, "no such \"thing\"").encode();
        for len in 0..encoded.len() {
            assert_eq!(read_answer(&encoded[..len]), None, "{len}");
        }
        assert_eq!(read_answer(&encoded), Some((404, &b"{\"error\":\"no such \\\"thing\\\"\"}\n"[..])));
    }
}
