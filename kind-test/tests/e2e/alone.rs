//! What changes Sandgate for the whole cluster: one test at a time, after all others.

mod certificate;
mod down;
mod flood;
mod lifecycle;
mod rollout;
mod secret;

use sandgate_kind_test::runner::Test;

pub(crate) const TESTS: &[&[Test]] =
    &[secret::TESTS, flood::TESTS, down::TESTS, certificate::TESTS, rollout::TESTS, lifecycle::TESTS];
