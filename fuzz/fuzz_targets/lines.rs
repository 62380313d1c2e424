//! See tests/cutting/hostile.rs.
#![no_main]

#[path = "../../tests/cutting/hostile.rs"]
#[expect(dead_code, reason = "each target runs one of them")]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::lines(data));
