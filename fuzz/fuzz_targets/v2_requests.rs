#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dormouse_fuzz::v2_requests(data));
