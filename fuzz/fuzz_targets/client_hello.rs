//! `cargo fuzz run client_hello`. What is checked stands beside the tests that check it on each change.
#![no_main]

#[path = "../../sidecar/tests/fuzz"]
mod shared {
    pub(crate) mod client_hello;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| shared::client_hello::check(input));
