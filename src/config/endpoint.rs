//! [`Endpoint`]: an `http://` or `https://` base, parsed once. Plain HTTP is for this machine and the private network
//! unless the operator allows more; a user name or password inside a URL is refused, because URLs end up in logs.

use std::fmt;

use core::net::IpAddr;

/// A base URL without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    secure: bool,
}

/// Why a base is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// Another scheme, or no host.
    OtherScheme,
    /// User name or password in the URL.
    HasUserInfo,
    /// White space or a control character.
    HasSpace,
    /// A character that has no place in a URL.
    BadCharacter,
    /// A query or a fragment.
    HasQuery,
    /// A port that is not one.
    BadPort,
    /// Plain HTTP to a host outside this machine and the private network.
    Insecure,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointError::OtherScheme => "must start with http:// or https:// and name a host",
            EndpointError::HasUserInfo => "must not hold a user name or password: put the key in its own variable",
            EndpointError::HasSpace => "must not hold white space",
            EndpointError::BadCharacter => "must hold nothing but letters, digits and the signs of a URL",
            EndpointError::HasQuery => "must not hold '?' or '#'",
            EndpointError::BadPort => "has a port that is not a number from 1 to 65535",
            EndpointError::Insecure => {
                "uses plain http outside the private network: use https, or set RUSTY_PINCH_ALLOW_INSECURE_HTTP=true"
            }
        })
    }
}

impl Endpoint {
    /// Checks `text`. With `allow_insecure`, plain HTTP may go anywhere.
    pub fn parse(text: &str, allow_insecure: bool) -> Result<Endpoint, EndpointError> {
        let text = text.trim_end_matches('/');
        if text.contains(['?', '#']) {
            return Err(EndpointError::HasQuery);
        }
        let (secure, host) = parts(text, "http")?;
        if !secure && !allow_insecure && !is_near(&host) {
            return Err(EndpointError::Insecure);
        }
        Ok(Endpoint { text: text.to_owned(), secure })
    }

    /// The base, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port: what stands before the path.
    pub fn origin(&self) -> &str {
        let host = self.text.find("://").map_or(0, |at| at + 3);
        let path = self.text[host..].find('/').map_or(self.text.len(), |at| host + at);
        &self.text[..path]
    }

    /// Whether it is `https://`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Checks the URL of a websocket, which may have a query. With `allow_insecure`, a plain one may go anywhere.
pub fn check_websocket(text: &str, allow_insecure: bool) -> Result<(), EndpointError> {
    let (secure, host) = parts(text, "ws")?;
    if secure || allow_insecure || is_near(&host) { Ok(()) } else { Err(EndpointError::Insecure) }
}

/// Checks a host and its port.
pub fn check_address(text: &str) -> Result<(), EndpointError> {
    check_characters(text)?;
    host_of(text)?;
    let has_place_for_more = text.contains(['/', '@', '?', '#']) || !text.ends_with(|last: char| last.is_ascii_digit());
    if has_place_for_more || !text.contains(':') { Err(EndpointError::BadPort) } else { Ok(()) }
}

fn check_characters(text: &str) -> Result<(), EndpointError> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(EndpointError::HasSpace);
    }
    let belongs = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.bytes().all(belongs) { Ok(()) } else { Err(EndpointError::BadCharacter) }
}

/// Whether it is the secure kind of the scheme `plain`, and the host.
fn parts(text: &str, plain: &str) -> Result<(bool, String), EndpointError> {
    check_characters(text)?;
    let (scheme, rest) = text.split_once("://").ok_or(EndpointError::OtherScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let secure = match scheme.strip_prefix(plain) {
        Some("s") => true,
        Some("") => false,
        _ => return Err(EndpointError::OtherScheme),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(EndpointError::HasUserInfo);
    }
    Ok((secure, host_of(authority)?))
}

fn host_of(authority: &str) -> Result<String, EndpointError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(EndpointError::OtherScheme)?;
            if host.parse::<core::net::Ipv6Addr>().is_err() || !after.is_empty() && !after.starts_with(':') {
                return Err(EndpointError::OtherScheme);
            }
            (host, after.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(EndpointError::OtherScheme);
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|number| number > 0)) {
        return Err(EndpointError::BadPort);
    }
    Ok(host.to_ascii_lowercase())
}

/// This machine or a private network: loopback, RFC 1918, link-local, unique local, and names without a dot (the
/// service names of Compose).
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        Err(_) => !host.contains('.') || host.ends_with(".localhost") || host.ends_with(".local"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<&str, EndpointError>) {
        let got = Endpoint::parse(text, false);
        assert_eq!(got.as_ref().map(Endpoint::as_str).map_err(|error| *error), want, "{text}");
    }

    #[test]
    fn good_bases_lose_their_trailing_slash() {
        check("https://api.openai.com/v1/", Ok("https://api.openai.com/v1"));
        check("http://127.0.0.1:8080/v1", Ok("http://127.0.0.1:8080/v1"));
        check("http://[::1]:8080", Ok("http://[::1]:8080"));
        check("http://localhost:11434/v1", Ok("http://localhost:11434/v1"));
        check("http://192.168.1.2/v1", Ok("http://192.168.1.2/v1"));
    }

    #[test]
    fn bad_bases_say_why() {
        check("", Err(EndpointError::OtherScheme));
        check("ftp://x", Err(EndpointError::OtherScheme));
        check("https://", Err(EndpointError::OtherScheme));
        check("https://user:pass@host/v1", Err(EndpointError::HasUserInfo));
        check("https://host/v 1", Err(EndpointError::HasSpace));
        check("https://h\u{f6}st/v1", Err(EndpointError::BadCharacter));
        check("https://host/{model}", Err(EndpointError::BadCharacter));
        check("https://[nine]/v1", Err(EndpointError::OtherScheme));
        check("https://[::1]x/v1", Err(EndpointError::OtherScheme));
        check("https://host/v1?key=1", Err(EndpointError::HasQuery));
        check("https://host:0/v1", Err(EndpointError::BadPort));
        check("https://host:99999/v1", Err(EndpointError::BadPort));
        check("http://api.example.org/v1", Err(EndpointError::Insecure));
        check("http://8.8.8.8/v1", Err(EndpointError::Insecure));
    }

    #[test]
    fn an_origin_is_what_stands_before_the_path() {
        let origin = |text: &str| Endpoint::parse(text, true).map(|base| base.origin().to_owned());
        assert_eq!(origin("https://host:8443/v1/x"), Ok("https://host:8443".to_owned()));
        assert_eq!(origin("http://[::1]"), Ok("http://[::1]".to_owned()));
    }

    #[test]
    fn insecure_bases_pass_when_allowed() {
        assert!(Endpoint::parse("http://api.example.org/v1", true).is_ok());
    }
}
