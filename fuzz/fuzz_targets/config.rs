//! See `callveil_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::config::check(data));
