#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kplane_fuzz::requests(text));
