//! Heads and bodies: any bytes, in any reads, give the same requests and the same fault, and nothing panics.

use wrs_core::wire::http::{Body, HeadScan, HttpFault, Limits};

/// Small enough that inputs of a fuzzer's usual length reach them.
const LIMITS: Limits = Limits { header_bytes_max: 400, body_bytes_max: 100 };

/// The first byte of `data` says how long a read is; the rest is what a client sent.
pub fn run(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(how) + 1), whole, "a cut changed what was read");
}

/// Every request in a stream that arrives in reads of `step` bytes, as they show themselves, and the fault that ends it.
fn read(stream: &[u8], step: usize) -> (Vec<String>, Option<HttpFault>) {
    let (mut requests, mut held) = (Vec::new(), Vec::new());
    let (mut scan, mut body): (HeadScan, Option<Body>) = (HeadScan::default(), None);
    for part in stream.chunks(step) {
        held.extend_from_slice(part);
        loop {
            let used = match &mut body {
                None => match scan.parse_head(&held, &LIMITS) {
                    Ok(None) => break,
                    Err(fault) => return (requests, Some(fault)),
                    Ok(Some(head)) => {
                        assert!(head.size <= held.len() && head.size > 0);
                        requests.push(format!("{head:?}"));
                        scan = HeadScan::default();
                        match Body::new(head.body, &LIMITS) {
                            Ok(new) => body = Some(new),
                            Err(fault) => return (requests, Some(fault)),
                        }
                        head.size
                    }
                },
                Some(open) => {
                    let (used, done) = match open.read(&held) {
                        Ok(read) => read,
                        Err(fault) => return (requests, Some(fault)),
                    };
                    assert!(used <= held.len() && open.bytes().len() <= LIMITS.body_bytes_max);
                    if done {
                        requests.push(format!("{:?}", open.bytes()));
                        body = None;
                    } else if used == 0 || used == held.len() {
                        held.drain(..used);
                        break;
                    }
                    used
                }
            };
            held.drain(..used);
        }
    }
    (requests, None)
}
