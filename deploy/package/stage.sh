#!/usr/bin/env bash
# Lays out in target/package what the packages hold, around the program $1. Cargo.toml says where each file goes.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:?"usage: $0 PROGRAM"} stage=target/package

rm -rf "$stage"
mkdir -p "$stage"/{man,completions}
install -m 0755 "$program" "$stage/callveil"
"$stage/callveil" man "$stage/man" 2>/dev/null
# Without a name and a time within: the same pages give the same file.
gzip -9n "$stage"/man/*.1
"$stage/callveil" config example | sed -f deploy/systemd/callveil.sed >"$stage/callveil.toml"
"$stage/callveil" completions bash >"$stage/completions/callveil"
"$stage/callveil" completions zsh >"$stage/completions/_callveil"
"$stage/callveil" completions fish >"$stage/completions/callveil.fish"
# A package's programs are in /usr/bin, and its ring may be plain.
sed -e 's|/usr/local/bin/callveil|/usr/bin/callveil|' -e 's|^LoadCredential=identity:|# &|' \
  deploy/systemd/callveil.service >"$stage/callveil.service"
