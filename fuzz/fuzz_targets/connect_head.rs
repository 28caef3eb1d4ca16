//! `cargo fuzz run connect_head`. What is checked stands beside the tests that check it on each change.
#![no_main]

#[path = "../../sidecar/tests/fuzz"]
mod shared {
    pub(crate) mod connect_head;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::connect_head::check(input));
