//! `cargo fuzz run authority`. What is checked stands beside the tests that check it on each change.
#![no_main]

#[path = "../../sidecar/tests/fuzz"]
mod shared {
    pub(crate) mod authority;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::authority::check(input));
