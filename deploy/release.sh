#!/usr/bin/env bash
# Makes all that is handed out, in the folder $1 (target/dist): the static program as a tarball, .deb, .rpm, image, Helm
# chart, SBOM, and their checksums. The program is built twice, in two places, and must be equal bit for bit.
#
#     deploy/release.sh [FOLDER]
#
# Wants cargo-auditable, cargo-cyclonedx, cargo-deb and cargo-generate-rpm (`cargo install --locked …`), buildah and kubectl.
# ONE_BUILD=1 leaves the second build out. deploy/README.md tells how each is tried.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=$(realpath -m "${1:-target/dist}")
for tool in buildah cargo-auditable cargo-cyclonedx cargo-deb cargo-generate-rpm kubectl; do
  command -v "$tool" >/dev/null || { echo "$0: $tool is not installed" >&2; exit 1; }
done
version=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
machine=$(uname -m)
name=callveil-$version-$machine
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH AUDITABLE=1
rm -rf "$dist"
mkdir -p "$dist"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

deploy/build-static.sh "$work/callveil"
if [[ -z ${ONE_BUILD-} ]]; then
  # Other sources, in another place, into another folder; the same commit.
  git -c advice.detachedHead=false clone --quiet --no-hardlinks . "$work/again"
  CARGO_TARGET_DIR=$work/target "$work/again/deploy/build-static.sh" "$work/callveil.again"
  cmp "$work/callveil" "$work/callveil.again" || {
    cp "$work/callveil" "$work/callveil.again" "$dist"
    echo "$0: two builds differ: both are in $dist" >&2
    exit 1
  }
  echo "two builds are equal: $(sha256sum <"$work/callveil")"
fi

deploy/package/stage.sh "$work/callveil"
cargo deb --no-build --no-strip --output "$dist/callveil_${version}_$(dpkg --print-architecture).deb"
cargo generate-rpm --source-date "$SOURCE_DATE_EPOCH" --output "$dist/$name.rpm"

stage=$work/$name
mkdir -p "$stage"
cp -r target/package/{callveil,man,completions} LICENSE-* README.md CHANGELOG.md deploy/systemd "$stage"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --directory "$work" --create "$name" |
  gzip -9n >"$dist/$name.tar.gz"

deploy/image.sh "$work/callveil" "$dist/$name.oci.tar"

deploy/helm/make.sh "$work/chart/callveil"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --directory "$work/chart" --create callveil |
  gzip -9n >"$dist/callveil-chart-$version.tgz"

# Beside each manifest of the workspace; only the program's own is handed out.
cargo cyclonedx --quiet --format json --no-build-deps --target "$machine-unknown-linux-gnu" --override-filename sbom
mv sbom.json "$dist/$name.cdx.json"
rm -f plugin/sbom.json python/sbom.json
deploy/sbom.py "$work/callveil" "$dist/$name.cdx.json"
deploy/checks/sbom.py "$work/callveil" "$dist/$name.cdx.json" "$machine-unknown-linux-gnu"

(cd "$dist" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
