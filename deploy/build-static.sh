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
flags='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'

# Nothing of this machine's folders is in the file, so that another build of the same sources is equal to it, bit for bit.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
built=$(realpath -m "${CARGO_TARGET_DIR:-target}")
for pair in "$PWD=/callveil" "$cargo_home=/cargo" "$built=/target" "$(rustc --print sysroot)=/rust"; do
  flags+=" --remap-path-prefix=$pair"
done
export CFLAGS="-ffile-prefix-map=$PWD=/callveil -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$built=/target"
export CXXFLAGS=$CFLAGS RUSTFLAGS=$flags
# With `AUDITABLE=1` it carries a list of what it was built from (`cargo install cargo-auditable`).
build=(build)
if [[ -n ${AUDITABLE-} ]]; then build=(auditable build); fi
cargo "${build[@]}" --locked --release --bin callveil --target "$target" "$@"
cp "${CARGO_TARGET_DIR:-target}/$target/release/callveil" "$output"
