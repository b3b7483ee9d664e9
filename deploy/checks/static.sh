#!/usr/bin/env bash
# Shows, where no container engine is at hand, that the static program runs as the image and the Deployment have it run:
# in an empty root that cannot be written to, as user 65532 without capabilities, with the files of its volumes and no
# others (no /dev, no /proc, no /etc), on a network without a way out. Needs root, and leaves nothing behind.
#
#     deploy/checks/static.sh [PROGRAM]          builds the program first, unless it is given
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"
readonly USER_ID=65532 GRACE_SECONDS=45

check_static() {
  say "$(file --brief "$1" | tr , '\n' | grep -E 'ELF|static' | paste -sd,)"
  say "ldd: $(ldd "$1" 2>&1 | xargs)"
  if readelf --program-headers "$1" | grep -q INTERP; then fail "it wants an interpreter"; fi
  if readelf --dynamic "$1" | grep NEEDED; then fail "it wants libraries"; fi
}

# A Secret or a ConfigMap at $1 with the files that follow, as the kubelet makes it: root's, for the group of the pod,
# behind a link that is swapped when it changes.
volume() {
  local path=$1 version
  shift
  mkdir -p "$path"
  version=$(mktemp -d "$path/..XXXXXX")
  install -o root -g "$USER_ID" -m 0440 "$@" "$version"
  chmod 0755 "$version"
  ln -s "$(basename "$version")" "$path/..new"
  mv -T "$path/..new" "$path/..data"
  for file; do
    ln -sfn "..data/$(basename "$file")" "$path/$(basename "$file")"
  done
}

fill_root() {
  local root=$1 files=$2 program=$3
  install -D "$program" "$root/callveil"
  filled_in "$here/../kubernetes/callveil.toml" "$files" >"$files/callveil.toml"
  volume "$root/etc/callveil" "$files/callveil.toml"
  volume "$root/run/callveil/keyring" "$files/keyring.json"
  volume "$root/run/callveil/identity" "$files/identity"
  volume "$root/run/callveil/tls" "$files/tls.crt" "$files/tls.key"
  chmod 0755 "$root" "$root/etc" "$root/run" "$root/run/callveil"
}

# Runs in namespaces of its own, which end with it.
inside() {
  local folder=$1 program=$2 files root pid since
  files=$folder/files root=$folder/root
  ip link set lo up
  mkdir "$files" "$root"
  make_files "$files" "$program"
  fill_root "$root" "$files" "$program"
  # The program sees a root that cannot be written to; the volumes can be, from here.
  mkdir "$folder/view"
  mount --bind "$root" "$folder/view"
  mount -o remount,bind,ro,nosuid,nodev "$folder/view"
  say "the root: $(cd "$folder/view" && find . -not -type d | sort | xargs)"
  setpriv --no-new-privs --inh-caps=-all \
    chroot --userspec="$USER_ID:$USER_ID" --groups="$USER_ID" "$folder/view" \
    /callveil serve --config /etc/callveil/callveil.toml >"$folder/stdout" 2>"$folder/log" &
  pid=$!
  # shellcheck disable=SC2064
  trap "((\$? == 0)) || cat '$folder/log' >&2" EXIT
  eventually admin_says 200 /readyz
  privileges "$pid"
  admin_says 200 /healthz || fail "/healthz: $(admin_status /healthz)"
  admin_says 401 /keyring || fail "/keyring: $(admin_status /keyring)"
  say "ready: /healthz and /readyz say 200, /keyring without a token 401"
  map_both_ways "$files"
  if (cd "$folder/view" && : >written) 2>/dev/null; then fail "the root can be written to"; fi

  "$program" keys rotate --keyring "$files/keyring.json" --identity "$files/identity" >/dev/null 2>&1
  volume "$root/run/callveil/keyring" "$files/keyring.json"
  eventually has_generation "$files" 2
  say "takes up a rotated key ring from a swapped Secret"
  look_up_a_name "$folder"

  since=$SECONDS
  kill -TERM "$pid"
  eventually admin_says 503 /readyz
  map_both_ways "$files"
  wait "$pid" || fail "it ended with $?"
  ((SECONDS - since < GRACE_SECONDS)) || fail "the drain took $((SECONDS - since)) seconds"
  say "SIGTERM: /readyz says 503, calls are still answered, and it ends with 0 after $((SECONDS - since)) of" \
    "$GRACE_SECONDS seconds"
}

# The server binds and accepts addresses, and looks no name up: it had neither hosts nor DNS so far. Of all commands only
# `keys check` may be given a name, which glibc then looks up without any shared library.
look_up_a_name() {
  local folder=$1
  install -m 0444 "$folder/files/token" "$folder/root/token"
  echo '127.0.0.1 replica' >"$folder/root/etc/hosts"
  chroot --userspec="$USER_ID:$USER_ID" "$folder/view" /callveil keys check http://replica:9640 --token-file /token \
    >"$folder/check" || fail "keys check: $(<"$folder/check")"
  say "keys check finds a name of /etc/hosts"
}

main() {
  need age-keygen chroot curl file ip ldd openssl readelf setpriv unshare
  ((EUID == 0)) || fail "root is needed, for the namespaces"
  local folder program
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  chmod 0755 "$folder"
  program=$folder/callveil
  if (($#)); then cp "$1" "$program"; else "$here/../build-static.sh" "$program"; fi
  check_static "$program"
  unshare --mount --net --pid --fork --kill-child --mount-proc bash "$0" --inside "$folder" "$program"
  say "passed"
}

if [[ ${1-} == --inside ]]; then inside "${@:2}"; else main "$@"; fi
