//! What `fuzz/` runs with coverage, run here over random bytes: decoders that parse lengths, and lines.

#![cfg(test)]

#[path = "cutting/hostile.rs"]
mod hostile;

use proptest::prelude::*;

/// Bytes that mean something to one of them, and others.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let marks = b"#0129\r\n;>END\\\x00\x01\x02\x03\x04\x10\x16\x17\x83\xff".to_vec();
    prop::collection::vec(prop_oneof![3 => prop::sample::select(marks), 1 => any::<u8>()], 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_breaks_a_decoder(data in hostile_bytes()) {
        hostile::length_prefixed(&data);
        hostile::ieee_block(&data);
        hostile::modbus_rtu(&data);
        hostile::cobs(&data);
        hostile::lines(&data);
    }
}
