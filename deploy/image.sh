#!/usr/bin/env bash
# Makes the image of the static program $1 without a registry or a daemon, by buildah, as an OCI archive $2: the last stage
# of deploy/Dockerfile, word for word, on a program that was built already.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?"usage: $0 PROGRAM ARCHIVE"} archive=${2:?"usage: $0 PROGRAM ARCHIVE"}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

install -m 0755 "$program" "$folder/static"
cp LICENSE-APACHE LICENSE-MIT "$folder"
sed -n '/^FROM scratch/,$p' deploy/Dockerfile | sed -e 's|--from=build /callveil/|/|' -e 's| /callveil/LICENSE| /LICENSE|g' \
  >"$folder/Dockerfile"
store=(--storage-driver vfs --root "$folder/root" --runroot "$folder/run")
buildah "${store[@]}" build --quiet --isolation chroot --timestamp "${SOURCE_DATE_EPOCH:-0}" \
  --file "$folder/Dockerfile" --tag callveil "$folder" >/dev/null
rm -f "$archive"
buildah "${store[@]}" push --quiet callveil "oci-archive:$archive"
