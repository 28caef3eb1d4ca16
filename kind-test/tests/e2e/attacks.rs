//! What whoever builds pods may try. Each attack is first seen to work where its guard is missing.

mod around;
mod entering;
mod forging;
mod key;
mod names;
mod ports;
mod rights;
mod watches;

use sandgate_kind_test::runner::Test;

pub(crate) const TESTS: &[&[Test]] = &[
    around::TESTS,
    entering::TESTS,
    forging::TESTS,
    key::TESTS,
    names::TESTS,
    ports::TESTS,
    rights::TESTS,
    watches::TESTS,
];
