export CARGO_HOME="$HOME/cargo"
mkdir -p "$CARGO_HOME" src
printf '[source.crates-io]\nreplace-with = "origin"\n[source.origin]\nregistry = "sparse+%s/cargo/"\n' "$2" >"$CARGO_HOME/config.toml"
printf '[package]\nname = "here"\n[dependencies]\nsandgate-sample = "1"\n' >Cargo.toml
touch src/lib.rs
cargo fetch --quiet
cat "$CARGO_HOME"/registry/src/*/sandgate-sample-1.0.0/src/lib.rs
