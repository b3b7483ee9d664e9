//! See `callveil_fuzz::envelope`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callveil_fuzz::envelope::check(data));
