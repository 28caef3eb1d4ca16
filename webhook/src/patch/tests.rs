//! The patch's rules, one by one. Whole pods are in `tests/golden`.
