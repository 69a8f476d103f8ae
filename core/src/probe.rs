//! One question to the service's own address: is there a cluster, and where is a node of it?
//!
//! `GET /cluster` at `WRS_DOMAIN`, over a connection that the adapter makes. Whoever answers may be behind any load
//! balancer, may be this node itself, or may be anything else: nothing in the answer is trusted but an address to try.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ConnId, DialId};
use crate::time::Time;

/// The longest answer that is read, head and body, in bytes: a cluster of a thousand nodes is shorter.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// A question under way.
#[derive(Debug)]
pub struct Probe {
    dial: DialId,
    conn: Option<ConnId>,
    until: Time,
    answer: Vec<u8>,
}

impl Probe {
    /// A question that waits for its connection.
    pub fn new(dial: DialId, until: Time) -> Self {
        Probe { dial, conn: None, until, answer: Vec::new() }
    }

    /// The dial for its connection.
    pub fn dial(&self) -> DialId {
        self.dial
    }

    /// Its connection, once there is one.
    pub fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// When it is given up.
    pub fn deadline(&self) -> Time {
        self.until
    }

    /// The connection is there: what to send on it.
    /// No token is sent: nobody has proven who is there. Where the rules guard `GET /cluster`, the answer is 401, and
    /// nodes find each other by `WRS_SEEDS`.
    pub fn ask(&mut self, conn: ConnId, host: &str) -> Bytes {
        self.conn = Some(conn);
        let mut request = BytesMut::new();
        request.put_slice(b"GET /cluster HTTP/1.1\r\nHost: ");
        request.put_slice(host.as_bytes());
        request.put_slice(b"\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
        request.freeze()
    }

    /// Some of the answer has come. `Some`: it is whole, and this is its body, or nothing that could be read.
    pub fn received(&mut self, bytes: &[u8]) -> Option<Option<Bytes>> {
        self.answer.extend_from_slice(bytes);
        if self.answer.len() > ANSWER_BYTES_MAX {
            return Some(None);
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let begin = match head.parse(&self.answer) {
            Ok(httparse::Status::Complete(begin)) => begin,
            Ok(httparse::Status::Partial) => return None,
            Err(_) => return Some(None),
        };
        if head.code != Some(200) {
            return Some(None);
        }
        let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse::<usize>().ok());
        // Our own servers always say how long it is; another's answer is nothing to this node.
        let Some(length) = length else { return Some(None) };
        let body = self.answer.get(begin..).unwrap_or_default();
        body.get(..length).map(|body| Some(Bytes::copy_from_slice(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe::new(DialId(1), Time::ZERO)
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"\"}";
        for cut in 0..answer.len() {
            let mut probe = probe();
            assert_eq!(probe.received(&answer[..cut]), None);
            assert_eq!(probe.received(&answer[cut..]), Some(Some(Bytes::from_static(b"{\"\"}"))));
        }
    }

    #[test]
    fn what_is_not_an_answer_is_none() {
        let strange: [&[u8]; 4] = [
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"\x16\x03\x01\x00",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ];
        for bytes in strange {
            assert_eq!(probe().received(bytes), Some(None), "{bytes:?}");
        }
        let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n".to_vec();
        long.resize(ANSWER_BYTES_MAX + 1, b' ');
        assert_eq!(probe().received(&long), Some(None));
    }
}
