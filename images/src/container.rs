//! A container that ends with the test that started it.

use crate::{Said, docker, inspect, must, run};

/// A container of a test; it is removed with its volumes when this is dropped.
#[derive(Debug)]
pub struct Container(String);

impl Container {
    /// Starts one in the background: `docker run --detach` with these arguments.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self(must(docker(&["run", "--detach"]).args(arguments)).trim().to_owned())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }

    /// Runs a command in it.
    #[must_use]
    pub fn exec(&self, command: &[&str]) -> Said {
        run(docker(&["exec", &self.0]).args(command))
    }

    /// What it printed so far, on both streams.
    #[must_use]
    pub fn log(&self) -> String {
        let said = run(&mut docker(&["logs", &self.0]));
        said.out + &said.err
    }

    /// What Docker knows of its state: `/State` of `docker inspect`.
    #[must_use]
    pub fn state(&self) -> serde_json::Value {
        inspect(&self.0)["State"].take()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let said = run(&mut docker(&["rm", "--force", "--volumes", &self.0]));
        if said.code != Some(0) {
            // A test that fails already must not end the whole program here.
            eprintln!("{} was not removed: {}", self.0, said.err);
        }
    }
}
