//! What may go where.

pub mod yaml;
