//! See `callveil_fuzz::number`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::number::check(data));
