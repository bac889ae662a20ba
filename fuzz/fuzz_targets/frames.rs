#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| curfew::fuzzing::run("frames", data));
