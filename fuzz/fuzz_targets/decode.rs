#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kplane_fuzz::decode(data));
