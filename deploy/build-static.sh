#!/usr/bin/env bash
# Builds callveil as one static file, for the architecture of this machine, and copies it to $1. More arguments are
# cargo's. The C library in it is glibc, the one that all tests run with.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:?"usage: $0 OUTPUT [cargo's arguments]"}
shift

# Named although it is this machine's: without a target the flag would hold for procedural macros as well, and those
# cannot be static.
target=$(rustc -vV | sed -n 's/^host: //p')
case $target in
  x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
  *) echo "$0: not tried on $target" >&2; exit 1 ;;
esac
# The system call for random bytes, named for the crate `getrandom`: it looks its C function up by name, finds none in a
# static program, and would want /dev/urandom.
RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' \
  cargo build --locked --release --target "$target" "$@"
cp "${CARGO_TARGET_DIR:-target}/$target/release/callveil" "$output"
