//! Where a web page comes from, as browsers tell it in `Origin`, and which pages a door lets in.
//!
//! A browser lets a page from anywhere open a WebSocket to its own machine; only the door can say no.

use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

/// The pages that may use a door, besides those that this machine serves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origins(pub Vec<Origin>);

/// Scheme, host and port as a browser spells them, or `null`, which a page says that comes from no server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("it has no scheme")]
    NoScheme,
    #[error("it goes on behind the host and port")]
    TooLong,
    #[error("its host is none")]
    BadHost,
    #[error("its port is none")]
    BadPort,
}

impl Origins {
    /// Whether a page whose browser says this may come in.
    #[must_use]
    pub fn admit(&self, said: &str) -> bool {
        Origin::new(said).is_ok_and(|origin| origin.is_of_this_machine() || self.0.contains(&origin))
    }
}

impl Origin {
    pub fn new(text: &str) -> Result<Self, OriginError> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Ok(Self(text.into()));
        }
        let (scheme, place) =
            text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or(OriginError::NoScheme)?;
        if place.contains(['/', '?', '#']) {
            return Err(OriginError::TooLong);
        }
        let (host, port) = split(place)?;
        // A browser leaves out the port that its scheme implies.
        let port = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        Ok(Self(format!("{scheme}://{host}{port}").into()))
    }

    /// Whoever serves pages at a loopback address is a program of this machine, and could use the doors anyway.
    fn is_of_this_machine(&self) -> bool {
        let place = self.0.strip_prefix("http://").or_else(|| self.0.strip_prefix("https://"));
        place.and_then(|place| split(place).ok()).is_some_and(|(host, _)| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
        })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// A host, in brackets where it is an IPv6 address, and a port where there is one.
fn split(place: &str) -> Result<(&str, Option<u16>), OriginError> {
    let end = match place.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|at| at + 2).ok_or(OriginError::BadHost)?,
        None => place.find(':').unwrap_or(place.len()),
    };
    let (host, port) = place.split_at_checked(end).ok_or(OriginError::BadHost)?;
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    if !inside.map_or_else(|| is_name(host), |address| address.parse::<Ipv6Addr>().is_ok()) {
        return Err(OriginError::BadHost);
    }
    match port.strip_prefix(':') {
        Some(port) => port.parse().map(|port| (host, Some(port))).map_err(|_| OriginError::BadPort),
        None if port.is_empty() => Ok((host, None)),
        None => Err(OriginError::BadPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_and_those_that_are_named_come_in_and_no_others() {
        let named = ["https://dash.example:8443", "HTTP://Panel.example:80", "app://obsidian.md"];
        let origins = Origins(named.iter().map(|text| Origin::new(text).unwrap()).collect());
        for (said, admitted) in [
            ("http://localhost", true),
            ("https://LOCALHOST:3000", true),
            ("http://127.0.0.1:8083", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:3000", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("https://dash.example:8443", true),
            ("http://panel.example", true),
            ("app://obsidian.md", true),
            ("https://dash.example", false),
            ("http://dash.example:8443", false),
            ("https://evil.example", false),
            ("https://localhost.evil.example", false),
            ("https://127.0.0.1.evil.example", false),
            ("http://evil.example:8083", false),
            ("http://localhost@evil.example", false),
            ("http://[::1]@evil.example", false),
            ("http://[::1", false),
            ("http://[::1]1", false),
            ("http://127.0.0.1:99999", false),
            ("http://10.0.0.10", false),
            ("file://localhost", false),
            ("localhost", false),
            ("null", false),
            ("", false),
            ("http://localhost/", false),
            ("http://localhost http://evil.example", false),
            ("http://é", false),
        ] {
            assert_eq!(origins.admit(said), admitted, "{said}");
        }
    }

    #[test]
    fn pages_from_no_server_have_to_be_named_too() {
        assert!(Origins(vec![Origin::new("null").unwrap()]).admit("null"));
    }

    #[test]
    fn what_is_no_origin_says_why() {
        for (text, error) in [
            ("dash.example", OriginError::NoScheme),
            ("*", OriginError::NoScheme),
            ("https://dash.example/", OriginError::TooLong),
            ("https://", OriginError::BadHost),
            ("https://*.example", OriginError::BadHost),
            ("https://dash.example:http", OriginError::BadPort),
        ] {
            assert_eq!(Origin::new(text), Err(error), "{text}");
        }
    }
}
