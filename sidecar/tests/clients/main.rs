//! Programs that share no code with Sandgate, under `sandgate-sidecar run`: each reaches the host that is listed, and
//! each is refused for one that is not, with the reason where the client shows one.

mod ca_rotation;
mod curl;
mod environment;
mod git;
mod harness;
mod java;
mod learn;
mod names;
mod node;
mod python;
mod wget;
