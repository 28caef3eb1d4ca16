//! `sandgate-webhook`. All of it is in the library: what this file named of it would be compiled a second time.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    sandgate_webhook::program::main()
}
