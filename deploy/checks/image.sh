#!/usr/bin/env bash
# Shows that the image answers over TLS from a container of its own: taken from its archive, run by buildah as the user that
# it names, with the Deployment's volumes. Needs root, and leaves nothing behind.
#
#     deploy/checks/image.sh ARCHIVE PROGRAM
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"

inside() {
  local folder=$1 archive=$2 program=$3 files=$1/files store container pid code=0
  ip link set lo up
  mkdir "$files" "$folder/made"
  make_files "$folder/made" "$program"
  mkdir "$files"/{keyring,identity,tls,config}
  filled_in "$here/../kubernetes/callveil.toml" "$folder/made" >"$files/config/callveil.toml"
  cp "$folder/made/keyring.json" "$files/keyring"
  cp "$folder/made/identity" "$files/identity"
  cp "$folder"/made/tls.{crt,key} "$files/tls"
  chown -R 65532:65532 "$files"/{keyring,identity,tls,config}
  chmod 0400 "$files"/{keyring/keyring.json,identity/identity,tls/tls.key}
  chmod 0755 "$files" "$files"/{keyring,identity,tls,config}
  store=(--storage-driver vfs --root "$folder/root" --runroot "$folder/run")
  container=$(buildah "${store[@]}" from "oci-archive:$archive")
  say "the image: $(buildah "${store[@]}" inspect --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' "$container")"
  buildah "${store[@]}" run --isolation chroot \
    --volume "$files/config:/etc/callveil:ro" --volume "$files/keyring:/run/callveil/keyring:ro" \
    --volume "$files/identity:/run/callveil/identity:ro" --volume "$files/tls:/run/callveil/tls:ro" \
    "$container" -- /callveil serve --config /etc/callveil/callveil.toml >"$folder/out" 2>"$folder/log" &
  # shellcheck disable=SC2064
  trap "((\$? == 0)) || cat '$folder/log' >&2" EXIT
  eventually admin_says 200 /readyz
  pid=$(pgrep --newest --exact callveil)
  [[ $(awk '/^Uid:/ {print $2}' "/proc/$pid/status") == 65532 ]] || fail "it runs as another user"
  map_both_ways "$folder/made"
  kill -TERM "$pid"
  wait %1 || code=$?
  ((code == 0)) || fail "it ended with $code"
  say "runs as 65532, and ends with 0 at SIGTERM"
}

main() {
  ((EUID == 0)) || fail "root is needed, for the container"
  need age-keygen buildah curl ip openssl pgrep unshare
  (($# == 2)) || fail "usage: $0 ARCHIVE PROGRAM"
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  chmod 0755 "$folder"
  unshare --mount --net --pid --fork --kill-child --mount-proc \
    bash "$0" --inside "$folder" "$(realpath "$1")" "$(realpath "$2")"
  say "passed"
}

if [[ ${1-} == --inside ]]; then inside "${@:2}"; else main "$@"; fi
