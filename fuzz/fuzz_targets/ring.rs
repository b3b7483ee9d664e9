//! See `callveil_fuzz::ring`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::ring::check(data));
