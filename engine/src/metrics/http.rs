//! As much of HTTP/1.1 as a scrape takes: one `GET` or `HEAD` for each connection.

use httparse::{EMPTY_HEADER, Request, Status};

use super::text::Format;

/// Where the metrics are.
pub const PATH_METRICS: &str = "/metrics";
/// Where the same is as JSON, in a form that belongs to this version of the program (`ringfort top`).
pub const PATH_OVERVIEW: &str = "/overview";

/// Bytes of a request that are read before it is refused.
pub const REQUEST_LEN_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which text.
    pub page: Page,
    /// Only what stands before it (`HEAD`).
    pub is_head: bool,
}

/// A text that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// The metrics.
    Metrics(Format),
    /// [`PATH_OVERVIEW`].
    Overview,
}

impl Page {
    /// What the answer's `Content-Type` says.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Metrics(format) => format.content_type(),
            Self::Overview => "application/json",
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRefusal {
    /// It is not HTTP.
    Malformed,
    /// There is no such page.
    NotFound,
    /// The method is neither `GET` nor `HEAD`.
    Method,
    /// It is too long.
    TooLong,
    /// Control does not answer.
    Unavailable,
}

impl HttpRefusal {
    /// The line that an answer begins with says this, and so does its text.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }

    /// What to do about it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "This is not a request of HTTP/1.1.\n",
            Self::NotFound => "The metrics are at /metrics.\n",
            Self::Method => "Use GET.\n",
            Self::TooLong => "The request is longer than 8 KiB.\n",
            Self::Unavailable => "The control thread did not answer within 5 s: see the log.\n",
        }
    }
}

/// What was asked for, once all of the request is there; `None` until then.
pub fn parse(bytes: &[u8]) -> Option<Result<Want, HttpRefusal>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => Some(want(&request)),
        Ok(Status::Partial) if bytes.len() < REQUEST_LEN_MAX => None,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => Some(Err(HttpRefusal::TooLong)),
        Err(_) => Some(Err(HttpRefusal::Malformed)),
    }
}

fn want(request: &Request<'_, '_>) -> Result<Want, HttpRefusal> {
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let page = match path {
        PATH_METRICS => Page::Metrics(format(request)),
        PATH_OVERVIEW => Page::Overview,
        _ => return Err(HttpRefusal::NotFound),
    };
    match request.method {
        Some("GET") => Ok(Want { page, is_head: false }),
        Some("HEAD") => Ok(Want { page, is_head: true }),
        _ => Err(HttpRefusal::Method),
    }
}

/// OpenMetrics for whoever says that he reads it, as Prometheus does; the older format, which everything reads, for
/// others.
fn format(request: &Request<'_, '_>) -> Format {
    let accepts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let mut types = accepts.filter_map(|header| std::str::from_utf8(header.value).ok()).flat_map(|v| v.split(','));
    let reads = types.any(|media| media.trim().to_ascii_lowercase().starts_with("application/openmetrics-text"));
    if reads { Format::OpenMetrics } else { Format::Classic }
}

/// What stands before the text of an answer.
pub fn head(status: &str, content_type: &str, len: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;\
         version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5\r\n\r\n";

    #[test]
    fn prometheus_gets_openmetrics_and_others_what_they_read() {
        let page = |text: &str| parse(text.as_bytes()).unwrap().map(|want| (want.page, want.is_head));
        assert_eq!(page(PROMETHEUS), Ok((Page::Metrics(Format::OpenMetrics), false)));
        assert_eq!(page("GET /metrics?x=1 HTTP/1.1\r\n\r\n"), Ok((Page::Metrics(Format::Classic), false)));
        assert_eq!(page("HEAD /metrics HTTP/1.0\r\nAccept: */*\r\n\r\n"), Ok((Page::Metrics(Format::Classic), true)));
        assert_eq!(page("GET /overview HTTP/1.1\r\n\r\n"), Ok((Page::Overview, false)));
    }

    #[test]
    fn every_beginning_of_a_request_waits_for_its_rest() {
        for len in 0..PROMETHEUS.len() {
            assert_eq!(parse(&PROMETHEUS.as_bytes()[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        let refused = |text: &[u8]| parse(text).unwrap().unwrap_err();
        assert_eq!(refused(b"\x16\x03\x01\x02\x00\x01\x00\x01"), HttpRefusal::Malformed);
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), HttpRefusal::NotFound);
        assert_eq!(refused(b"POST /metrics HTTP/1.1\r\n\r\n"), HttpRefusal::Method);
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "a".repeat(REQUEST_LEN_MAX));
        assert_eq!(refused(&long.as_bytes()[..REQUEST_LEN_MAX]), HttpRefusal::TooLong);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(refused(many.as_bytes()), HttpRefusal::TooLong);
    }
}
