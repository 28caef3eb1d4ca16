//! Each fuzz target over its seeds and a fixed number of mutations of them, the same in every run. The targets are those
//! of fuzz/, which goes on from here with coverage for as long as one likes.

mod authority;
mod client_hello;
mod connect_head;
mod mutation;
mod policy;

use std::fs;
use std::path::PathBuf;

use mutation::Mutations;

#[test]
fn authorities_have_one_form() {
    run("authority", 20_000, authority::check);
}

#[test]
fn policies_allow_what_their_text_says() {
    run("policy", 2_000, policy::check);
}

#[test]
fn client_hellos_say_the_same_in_any_records() {
    run("client_hello", 5_000, client_hello::check);
}

#[test]
fn only_what_a_plain_reading_allows_is_dialled() {
    run("connect_head", 2_000, connect_head::check);
}

fn run(target: &str, mutations: usize, check: fn(&[u8])) {
    let seeds = seeds(target);
    for input in seeds.iter().cloned().chain(Mutations::of(&seeds).take(mutations)) {
        let shown = Shown(input);
        check(&shown.0);
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    // The order of a directory is not the same everywhere, and the mutations go by it.
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", dir.display());
    paths.iter().map(|path| fs::read(path).expect("a readable seed")).collect()
}

/// Prints the input where the check of it panics.
struct Shown(Vec<u8>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was: b\"{}\"", self.0.escape_ascii());
        }
    }
}
