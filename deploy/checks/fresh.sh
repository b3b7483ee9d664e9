#!/usr/bin/env bash
# Shows that README's two commands work, word for word, on a machine with Rust, gcc and git alone: a Debian of the smallest
# kind, with this machine's Rust toolchain and what its Cargo has downloaded. Tells the count of skipped tests, and the time
# from the clone to the first answer. Needs root, debootstrap and half an hour, and leaves nothing behind.
#
#     deploy/checks/fresh.sh                     the commit that is checked out; $BASE is a root that was made before
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"
readonly PACKAGES=gcc,git,libc6-dev,ca-certificates

# The commands of README's "Try it", in their order.
commands() { sed -n '/^## Try it/,/^## To/s/^    \(cargo .*\)/\1/p' "$1/README.md"; }

in_root() {
  chroot "$root" /usr/bin/env -i PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root TERM=dumb \
    bash -c "cd /root/callveil && $1"
}

inside() {
  root=$1/root
  local folder=$1 sources=$2 since serve test printed value pid
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root/rust" "$root/sources" "$root/root/.cargo"
  mount --bind -o ro "$(rustc --print sysroot)" "$root/rust"
  mount --bind -o ro "$sources" "$root/sources"
  # Downloaded crates, so that what is measured is not the network; what lacks is fetched.
  cp -a "${CARGO_HOME:-$HOME/.cargo}/registry" "$root/root/.cargo/"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  echo '127.0.0.1 localhost' >"$root/etc/hosts"
  { read -r serve; read -r test; } < <(commands "$sources")
  [[ $serve == *'serve --dev' && $test == 'cargo test' ]] || fail "README has other commands: $serve; $test"

  since=$SECONDS
  chroot "$root" git -c safe.directory='*' clone --quiet /sources/clone.git /root/callveil
  # Its last step is to wait for calls.
  in_root "exec $serve" >"$folder/out" 2>"$folder/log" &
  pid=$!
  until grep -q '^ *curl ' "$folder/log"; do
    kill -0 "$pid" 2>/dev/null || fail "$serve: $(tail "$folder/log")"
    sleep 1
  done
  printed=$(sed -n 's/^ *\(curl .*\)/\1/p' "$folder/log" | head -n 1)
  value=$(bash -c "$printed")
  [[ $value == *'"Value"'* ]] || fail "no answer: $value"
  say "$serve: an answer $((SECONDS - since)) seconds after the clone began"
  # Cargo waits for it, and ends as it does.
  kill -TERM "$(pgrep --exact callveil)"
  wait "$pid" || fail "it ended with $?"

  since=$SECONDS
  in_root "$test" >"$folder/tests" 2>&1 || fail "$test: $(grep -E 'FAILED|panicked|error' "$folder/tests" | head -n 30)"
  say "$test: green $((SECONDS - since)) seconds later"
  grep '^test result' "$folder/tests"
  sed -n '/^skipped: [0-9]* tests/,/^$/p' "$folder/tests"
  grep -q '^skipped: [1-9]' "$folder/tests" || fail "nothing is counted as skipped"
}

main() {
  ((EUID == 0)) || fail "root is needed, for the clean root"
  need cargo chroot curl git pgrep unshare
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  clean_root "$folder/root" "$PACKAGES"
  git clone --quiet --bare "$here/../.." "$folder/sources/clone.git"
  cp "$here/../../README.md" "$folder/sources"
  unshare --mount --pid --fork --kill-child --mount-proc bash "$0" --inside "$folder" "$folder/sources"
  say "passed"
}

if [[ ${1-} == --inside ]]; then inside "${@:2}"; else main "$@"; fi
