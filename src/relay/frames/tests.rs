use proptest::prelude::*;

use super::*;

/// A frame, written by an independent encoder.
#[derive(Clone, Debug)]
struct TestFrame {
    opcode: u8,
    is_final: bool,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
    /// Whether the length has more bytes than it needs. RFC 6455 forbids this, but receivers differ.
    is_long_form: bool,
}

impl TestFrame {
    /// The payload that the receiver of the frame reads.
    fn unmasked(&self) -> Vec<u8> {
        let mask = self.mask.unwrap_or_default();
        let key = (0..).map(|index: usize| mask[index % 4]);
        self.payload
            .iter()
            .zip(key)
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.opcode | if self.is_final { 0x80 } else { 0 }];
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        let length = self.payload.len();
        if self.is_long_form || length > 0xffff {
            bytes.push(mask_bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        } else if length > 125 {
            bytes.push(mask_bit | 126);
            bytes.extend((length as u16).to_be_bytes());
        } else {
            bytes.push(mask_bit | length as u8);
        }
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(&self.payload);
        bytes
    }
}

fn any_frame() -> impl Strategy<Value = TestFrame> {
    let length = prop_oneof![
        6 => 0_usize..130,
        1 => 65_530_usize..65_545,
        1 => 120_usize..1000
    ];
    (
        0_u8..16,
        any::<bool>(),
        any::<Option<[u8; 4]>>(),
        length.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length)),
        any::<bool>(),
    )
        .prop_map(
            |(opcode, is_final, mask, payload, is_long_form)| TestFrame {
                opcode,
                is_final,
                mask,
                payload,
                is_long_form,
            },
        )
}

proptest! {
    /// The scanner finds the same boundaries and the same data, however the bytes are split.
    #[test]
    fn boundaries_and_data_do_not_depend_on_the_chunks(
        frames in proptest::collection::vec(any_frame(), 1..6),
        splits in proptest::collection::vec(1_usize..400, 1..40),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(TestFrame::encode).collect();
        let mut boundaries = vec![0];
        for frame in &frames {
            boundaries.push(boundaries.last().unwrap() + frame.encode().len());
        }
        let mut scanner = FrameScanner::default();
        let (mut position, mut found_data, mut found) = (0, false, Vec::new());
        let mut sizes = splits.iter().cycle();
        while position < bytes.len() {
            let length = (*sizes.next().unwrap()).min(bytes.len() - position);
            scanner.scan(&bytes[position..position + length], |part| {
                found_data |= part.header.is_data();
                if part.offset == 0 {
                    found.push((part.header, Vec::new()));
                }
                let (header, payload) = found.last_mut().unwrap();
                assert_eq!(part.offset, payload.len() as u64);
                payload.extend(header.unmask(part.offset, part.payload));
                assert_eq!(part.is_last(), payload.len() as u64 == header.length);
            });
            position += length;
            prop_assert_eq!(scanner.is_at_boundary(), boundaries.contains(&position));
        }
        prop_assert_eq!(found_data, frames.iter().any(|frame| frame.opcode <= 2));
        prop_assert_eq!(found.len(), frames.len());
        for (frame, (header, payload)) in frames.iter().zip(&found) {
            prop_assert_eq!(header.is_final(), frame.is_final);
            prop_assert_eq!(header.is_continuation(), frame.opcode == 0);
            prop_assert_eq!(&frame.unmasked(), payload);
        }
        prop_assert_eq!(scanner.has_closed(), frames.iter().any(|frame| frame.opcode == 8));
    }

    /// A caller that reads only the announced bytes stops exactly at the next boundary.
    #[test]
    fn the_next_boundary_is_never_passed(frame in any_frame(), next in any_frame(), begun in 1_usize..20) {
        let (first, second) = (frame.encode(), next.encode());
        let bytes = [first.clone(), second].concat();
        let mut position = begun.min(first.len() - 1).max(1);
        let mut scanner = FrameScanner::default();
        scanner.scan(&bytes[..position], |_| ());
        while !scanner.is_at_boundary() {
            let length = scanner.bytes_to_boundary();
            prop_assert!(length > 0);
            scanner.scan(&bytes[position..position + length], |_| ());
            position += length;
        }
        prop_assert_eq!(position, first.len());
    }

    /// Random bytes never make the scanner panic.
    #[test]
    fn random_bytes_are_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let mut scanner = FrameScanner::default();
        for byte in bytes {
            scanner.scan(&[byte], |_| ());
            let _ = scanner.bytes_to_boundary();
        }
    }
}

#[test]
fn an_impossible_length_ends_the_search_for_boundaries() {
    let mut scanner = FrameScanner::default();
    scanner.scan(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], |_| ());
    assert!(!scanner.is_at_boundary());
    scanner.scan(&[0; 100], |_| ());
    assert!(!scanner.is_at_boundary());
}

#[test]
fn close_frames_have_the_status_and_the_reason() {
    let frame = close_frame("revoked", None);
    assert_eq!(frame, b"\x88\x09\x03\xf0revoked");
    let masked = close_frame("revoked", Some([1, 2, 3, 4]));
    assert_eq!(masked[..6], [0x88, 0x89, 1, 2, 3, 4]);
    let payload: Vec<u8> = masked[6..]
        .iter()
        .zip([1, 2, 3, 4].iter().cycle())
        .map(|(byte, key)| byte ^ key)
        .collect();
    assert_eq!(payload, b"\x03\xf0revoked");
    assert_eq!(close_frame(&"x".repeat(500), None).len(), 127);
}
