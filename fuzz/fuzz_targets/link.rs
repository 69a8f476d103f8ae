//! libFuzzer's entry to [`wrs_fuzz::link::run`].
#![no_main]
// The entry point that libFuzzer calls is exported by name.
#![allow(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wrs_fuzz::link::run(data));
