//! The outgoing queue: whatever the socket takes and whenever the rest is dropped, the other end reads whole frames in
//! order, and nothing that was dropped.

use bytes::{Bytes, BytesMut};
use wrs_core::wire::frame::{self, OpCode};
use wrs_core::wire::line::Line;

/// Each pair of bytes is one step: what is done, and how much of it, in units of up to 128 bytes: enough for chunks that
/// are written alone and for pieces that are full.
pub fn run(data: &[u8]) {
    let (mut line, mut scratch) = (Line::plain(), Vec::new());
    let (mut written, mut expected, mut serial) = (Vec::<u8>::new(), Vec::<u8>::new(), 0u8);
    for step in data.chunks_exact(2).take(400) {
        let amount = usize::from(step[1]) << (step[0] >> 5);
        match step[0] & 0x0F {
            0..=4 => {
                let chunk: Bytes = (0..1 + usize::from(step[0] & 3)).flat_map(|_| one(&mut serial, amount)).collect();
                expected.extend_from_slice(&chunk);
                line.push(chunk);
            }
            5 => {
                line.truncate();
                // What is left is what was written, up to the end of the frame that is under way.
                let end = frame::boundary_after(&expected, written.len());
                expected.truncate(end);
            }
            _ => {
                let piece = line.piece(&mut scratch);
                let (taken, offered) = (amount.min(piece.len()), piece.len());
                written.extend_from_slice(&piece[..taken]);
                line.wrote(taken);
                if taken < offered {
                    line.hold_up();
                }
            }
        }
        assert_eq!(line.unsent(), expected.len() - written.len(), "what is unsent");
    }
    line.finish();
    while line.unsent() > 0 {
        let piece = line.piece(&mut scratch).to_vec();
        assert!(!piece.is_empty(), "something is unsent and never comes");
        written.extend_from_slice(&piece);
        line.wrote(piece.len());
    }
    assert!(line.is_finished());
    assert!(written == expected, "the other end reads something else");
}

fn one(serial: &mut u8, bytes: usize) -> Bytes {
    *serial = serial.wrapping_add(1);
    let mut out = BytesMut::new();
    frame::encode(&mut out, OpCode::Binary, &vec![*serial; bytes]);
    out.freeze()
}
