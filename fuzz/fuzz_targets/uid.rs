//! See `callveil_fuzz::uid`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::uid::check(data));
