//! See `callveil_fuzz::authorization`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::authorization::check(data));
