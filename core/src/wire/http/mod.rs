//! HTTP/1.1, the server's side (RFC 9110, RFC 9112): bytes to a request's head and body, and a response to bytes.
//!
//! It never guesses. Whatever two readers of the same bytes could understand differently (the shapes of request
//! smuggling, RFC 9112 §11.2) is refused, and the connection ends with the answer: after a [`HttpFault`] nobody knows
//! where the next request would begin. It never waits and never keeps more than its [`Limits`] say.
//!
//! A connection goes round: [`HeadScan::parse_head`] until there is a [`Head`], [`Body::read`] until it is done, then a
//! [`ResponseHead`]. What a request decides about the shape of its answer is its [`Terms`].

mod body;
mod head;
mod response;
mod target;

pub use body::{Body, BodyKind};
pub use head::{Head, HeadScan};
pub(crate) use response::put_decimal;
pub use response::{BodyStream, CONTINUE, ResponseHead, Terms};
pub use target::{Query, Target};

use http::StatusCode;

/// The most header fields in one request; more are answered with 431.
pub const HEADERS_MAX: usize = 100;
/// The longest method, in bytes. The longest registered one (`UPDATEREDIRECTREF`) has 17.
pub const METHOD_BYTES_MAX: usize = 32;
/// Empty lines that are skipped before a request line (RFC 9112 §2.2 asks for at least one).
pub const LEADING_EMPTY_LINES_MAX: usize = 4;
/// The most parameters in one query.
pub const QUERY_PARAMETERS_MAX: usize = 64;
/// The most digits of a chunk's size, leading zeros included: as many as write any length.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// The most bytes of chunk extensions in one body. They are read and thrown away.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4096;
/// The most bytes of trailer fields after one chunked body. They are checked and thrown away.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// The configured bounds of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest head in bytes, from the request line to the empty line (`WRS_MAX_HEADER_SIZE`).
    pub header_bytes_max: usize,
    /// The longest body in bytes, after decoding (`WRS_MAX_BODY_SIZE`).
    pub body_bytes_max: usize,
}

impl Default for Limits {
    /// 16 KiB of head, 64 KiB of body.
    fn default() -> Self {
        Limits { header_bytes_max: 16 * 1024, body_bytes_max: 64 * 1024 }
    }
}

/// Why a request cannot be read. The client is at fault each time, and the connection ends after the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpFault {
    /// The first line is not `method SP target SP HTTP/d.d CRLF`: TLS on the plain port, HTTP/0.9, garbage.
    RequestLine,
    /// The target is none of the forms of RFC 9112 §3.2, or decodes to what is no path.
    Target,
    /// The query has more than [`QUERY_PARAMETERS_MAX`] parameters.
    TooManyParameters,
    /// The major version is not 1; the preface of HTTP/2 too.
    Version,
    /// A line feed without a carriage return before it.
    BareLineFeed,
    /// A header field breaks the grammar: a space before the colon, a folded line, a control byte.
    Header,
    /// More than [`HEADERS_MAX`] header fields.
    TooManyHeaders,
    /// The request line alone is longer than [`Limits::header_bytes_max`].
    RequestLineTooLong,
    /// The head is longer than [`Limits::header_bytes_max`].
    HeadTooLong,
    /// `Host` is missing in HTTP/1.1, stands there twice, or is no host.
    Host,
    /// `Content-Length` is not one plain number.
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding`.
    TwoLengths,
    /// `Transfer-Encoding` that is not exactly `chunked`, or that stands in HTTP/1.0.
    TransferEncoding,
    /// One transfer coding that nobody here understands.
    UnknownCoding,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// A chunked body breaks the grammar.
    Chunk,
    /// The body is longer than [`Limits::body_bytes_max`].
    BodyTooLong,
    /// More than [`CHUNK_EXTENSION_BYTES_MAX`] bytes of chunk extensions.
    ExtensionsTooLong,
    /// More than [`TRAILER_BYTES_MAX`] bytes of trailer fields.
    TrailersTooLong,
}

impl HttpFault {
    /// The status that answers it.
    pub fn status(self) -> StatusCode {
        match self {
            HttpFault::RequestLine
            | HttpFault::Target
            | HttpFault::TooManyParameters
            | HttpFault::BareLineFeed
            | HttpFault::Header
            | HttpFault::Host
            | HttpFault::ContentLength
            | HttpFault::TwoLengths
            | HttpFault::TransferEncoding
            | HttpFault::Chunk
            | HttpFault::ExtensionsTooLong => StatusCode::BAD_REQUEST,
            HttpFault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            HttpFault::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            HttpFault::HeadTooLong | HttpFault::TooManyHeaders | HttpFault::TrailersTooLong => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            HttpFault::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            HttpFault::Expectation => StatusCode::EXPECTATION_FAILED,
            HttpFault::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// One sentence for whoever wrote the request.
    pub fn detail(self) -> &'static str {
        match self {
            HttpFault::RequestLine => "The request line is not HTTP/1.1.",
            HttpFault::Target => "The request target is not a valid path.",
            HttpFault::TooManyParameters => "The query has too many parameters.",
            HttpFault::Version => "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
            HttpFault::BareLineFeed => "A line of the head ends without a carriage return.",
            HttpFault::Header => "A header field is malformed.",
            HttpFault::TooManyHeaders => "The request has too many header fields.",
            HttpFault::RequestLineTooLong => "The request line is too long.",
            HttpFault::HeadTooLong => "The header fields are too long.",
            HttpFault::Host => "The Host header field is missing, doubled or malformed.",
            HttpFault::ContentLength => "Content-Length is not one plain number.",
            HttpFault::TwoLengths => "Content-Length and Transfer-Encoding exclude each other.",
            HttpFault::TransferEncoding => "Transfer-Encoding is not exactly chunked.",
            HttpFault::UnknownCoding => "This transfer coding is not understood.",
            HttpFault::Expectation => "No expectation but 100-continue can be met.",
            HttpFault::Chunk => "The chunked body is malformed.",
            HttpFault::BodyTooLong => "The body is too long.",
            HttpFault::ExtensionsTooLong => "The chunk extensions are too long.",
            HttpFault::TrailersTooLong => "The trailer fields are too long.",
        }
    }
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2): a method, a field name, a subprotocol.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether `byte` may stand in a field's value (RFC 9110 §5.5): no control but the tab.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7F)
}
