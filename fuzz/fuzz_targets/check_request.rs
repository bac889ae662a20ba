#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| curfew::fuzzing::run("check_request", data));
