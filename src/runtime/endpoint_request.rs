//! What a request to the health endpoint asks for, and the bytes of a response. Pure. The only headers that are looked at are
//! those that bring a token or announce a body; the host that a client names means nothing here.

use httparse::{EMPTY_HEADER, Request, Status};

/// Longest head of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 32;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Whether every thread lives.
    Live,
    /// Whether messages can arrive and be kept.
    Ready,
    /// The numbers.
    Metrics,
}

/// What is to be done about the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The head of the request is not complete.
    More,
    /// Show it; without its body if only the head is wanted.
    Show {
        /// What.
        page: Page,
        /// HEAD.
        is_head: bool,
    },
    /// Say no, with this status.
    Refuse(u16),
}

/// Reads the head of a request. With a `token`, only who brings it is shown anything, missing pages included.
pub fn read(bytes: &[u8], token: Option<&str>) -> Asked {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if bytes.len() < REQUEST_BYTES_MAX => return Asked::More,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Asked::Refuse(431),
        Err(_) => return Asked::Refuse(400),
    }
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Asked::Refuse(405),
    };
    let header = |name: &str| {
        let mut found = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        found.next().map(|header| header.value)
    };
    if header("transfer-encoding").is_some() || header("content-length").is_some_and(|length| length != b"0") {
        return Asked::Refuse(413);
    }
    if token.is_some_and(|token| !is_token(header("authorization"), token)) {
        return Asked::Refuse(401);
    }
    let path = request.path.unwrap_or_default();
    let page = match path.split_once('?').map_or(path, |(path, _)| path) {
        "/livez" => Page::Live,
        "/readyz" => Page::Ready,
        "/metrics" => Page::Metrics,
        _ => return Asked::Refuse(404),
    };
    Asked::Show { page, is_head }
}

/// Compared in the same time wherever they differ.
fn is_token(given: Option<&[u8]>, token: &str) -> bool {
    let Some((scheme, given)) = given.and_then(|given| given.split_at_checked(7)) else { return false };
    let differs = given.iter().zip(token.as_bytes()).fold(0, |differs, (one, other)| differs | (one ^ other));
    scheme.eq_ignore_ascii_case(b"bearer ") && given.len() == token.len() && differs == 0
}

/// A response; the connection ends with it.
pub fn response(status: u16, kind: &str, body: &str, is_head: bool) -> Vec<u8> {
    let more = match status {
        401 => "WWW-Authenticate: Bearer\r\n",
        405 => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let length = body.len().to_string();
    let status = status.to_string();
    // A status without its words is allowed (RFC 9112, section 4), and nobody reads them.
    let parts = [
        "HTTP/1.1 ",
        &status,
        " \r\nConnection: close\r\nCache-Control: no-store\r\n",
        more,
        "Content-Type: ",
        kind,
        "\r\nContent-Length: ",
        &length,
        "\r\n\r\n",
        if is_head { "" } else { body },
    ];
    parts.concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, token: Option<&str>, want: Asked) {
        assert_eq!(read(request.as_bytes(), token), want, "{request:?}");
    }

    fn shown(page: Page) -> Asked {
        Asked::Show { page, is_head: false }
    }

    #[test]
    fn only_three_pages_are_shown_and_only_without_a_body() {
        check("GET /livez HTTP/1.1\r\n\r\n", None, shown(Page::Live));
        check("GET /readyz?verbose HTTP/1.0\r\nHost: anybody.example\r\n\r\n", None, shown(Page::Ready));
        check("HEAD /metrics HTTP/1.1\r\n\r\n", None, Asked::Show { page: Page::Metrics, is_head: true });
        check("GET /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", None, shown(Page::Metrics));
        for path in ["/", "/livez/", "//livez", "/metrics/../livez", "*", "/%6Civez"] {
            check(&format!("GET {path} HTTP/1.1\r\n\r\n"), None, Asked::Refuse(404));
        }
        for method in ["POST", "PUT", "OPTIONS", "get", "CONNECT"] {
            check(&format!("{method} /livez HTTP/1.1\r\n\r\n"), None, Asked::Refuse(405));
        }
        for body in ["Content-Length: 5", "content-length: x", "Transfer-Encoding: chunked"] {
            check(&format!("GET /livez HTTP/1.1\r\n{body}\r\n\r\nhello"), None, Asked::Refuse(413));
        }
    }

    #[test]
    fn a_head_may_come_in_pieces_and_has_limits() {
        let request = "GET /livez HTTP/1.1\r\nA: b\r\n\r\n";
        for cut in 0..request.len() {
            check(&request[..cut], None, Asked::More);
        }
        let long = format!("GET /livez HTTP/1.1\r\nA: {}", "x".repeat(REQUEST_BYTES_MAX));
        check(&long[..REQUEST_BYTES_MAX - 1], None, Asked::More);
        check(&long[..REQUEST_BYTES_MAX], None, Asked::Refuse(431));
        check(&format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(33)), None, Asked::Refuse(431));
        for garbage in
            ["\u{0}\u{1}", "\u{16}\u{3}\u{1}", "GET /livez\u{0} HTTP/1.1\r\n\r\n", "GET /livez HTTP/9.9\r\n\r\n"]
        {
            check(garbage, None, Asked::Refuse(400));
        }
    }

    #[test]
    fn without_the_token_nothing_is_shown() {
        let with = |header: &str| format!("GET /livez HTTP/1.1\r\n{header}\r\n");
        check(&with("Authorization: Bearer secret\r\n"), Some("secret"), shown(Page::Live));
        check(&with("authorization: bearer secret\r\n"), Some("secret"), shown(Page::Live));
        for header in [
            "",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer secre\r\n",
            "Authorization: Bearer secrets\r\n",
            "Authorization: Basic secret\r\n",
            "Authorization: Bearer Secret\r\n",
            "X: Bearer secret\r\n",
        ] {
            check(&with(header), Some("secret"), Asked::Refuse(401));
        }
        check("GET /none HTTP/1.1\r\n\r\n", Some("secret"), Asked::Refuse(401));
    }

    #[test]
    fn a_head_has_the_length_of_the_body_and_not_the_body() {
        let text = |is_head| String::from_utf8(response(200, "text/plain", "alive\n", is_head)).expect("text");
        assert!(text(false).ends_with("Content-Length: 6\r\n\r\nalive\n"));
        assert!(text(true).ends_with("Content-Length: 6\r\n\r\n"));
    }
}
