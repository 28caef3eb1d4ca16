//! The sandbox of docker-compose.yml, from inside its containers: how it is confined, that a program in it works with
//! nothing set up, and that without the sidecar there is no way out of it. `make images-test` has the images built first.

mod limits;
mod privileges;
mod sandbox;
mod system_calls;
mod traffic;
mod ways_out;
