#!/usr/bin/env bash
# Shows, in a clean root each, that the packages install, serve as soon as there is a ring and a password, upgrade, and go
# without taking keys along. Needs root and debootstrap (or a root that it made, as $BASE), and leaves nothing behind.
#
#     deploy/checks/packages.sh OLD.deb NEW.deb          or OLD.rpm NEW.rpm
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"

in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }

installed() {
  case $1 in
    *.deb) cp "$1" "$root/tmp/callveil.deb" && in_root dpkg --install /tmp/callveil.deb ;;
    *.rpm) rpm --root "$root" --upgrade --nodeps --nosignature "$1" ;;
  esac >"$folder/said" 2>&1 || fail "install: $(<"$folder/said")"
  say "installs $(in_root callveil --version)"
}

removed() {
  case $1 in
    *.deb) in_root dpkg --purge callveil ;;
    *.rpm) rpm --root "$root" --erase callveil ;;
  esac >"$folder/said" 2>&1 || fail "removal: $(<"$folder/said")"
}

# All that operators put beside the configuration, and what came of it.
kept() {
  (cd "$root" && find etc/callveil var/log/callveil -type f ! -name callveil.toml ! -name 'callveil.toml.*' -exec sha256sum {} + | sort -k 2)
}

# Serves as the unit does: as its user, with its configuration.
serves() {
  local pid uid number call=(curl -sS --user "ccc:$password" http://127.0.0.1:8443/ --data)
  chroot --userspec=callveil:callveil "$root" /usr/bin/callveil serve --config /etc/callveil/callveil.toml \
    >"$folder/out" 2>"$folder/log" &
  pid=$!
  eventually admin_says 200 /readyz
  [[ $(curl -s http://127.0.0.1:9640/healthz) == *'"status":"alive"'* ]] || fail "/healthz"
  uid=$("${call[@]}" '{"Numbers": ["13988888888"], "Mode": "PhoneToUID"}' | grep -o '"Value":"[^"]*"' | cut -d '"' -f 4)
  number=$("${call[@]}" "{\"Numbers\": [\"$uid\"], \"Mode\": \"UIDToPhone\"}")
  [[ $number == *008613988888888* ]] || fail "no number"
  kill -TERM "$pid"
  wait "$pid" || fail "it ended with $?"
  say "serves, as callveil, and maps a number to a UID and back"
}

inside() {
  local old=$1 new=$2 made code=0
  folder=$3 root=$3/root
  ip link set lo up
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  installed "$old"
  [[ $(stat -c '%A %U:%G' "$root/etc/callveil/callveil.toml") == -rw-r-----* ]] || fail "others can read the configuration"
  in_root callveil serve --config /etc/callveil/callveil.toml >/dev/null 2>&1 || code=$?
  ((code == 78)) || fail "without a password: $code"
  in_root callveil keys init --keyring /etc/callveil/keyring.json >/dev/null 2>&1
  made=$(in_root callveil clients new-password 2>/dev/null)
  password=$(sed -n 's/^password: //p' <<<"$made")
  grep -o '[0-9a-f]\{64\}' <<<"$made" >"$folder/password_sha256"
  sed -i "s/^password_sha256 = .*/password_sha256 = [\"$(<"$folder/password_sha256")\"]/" "$root/etc/callveil/callveil.toml"
  in_root chgrp callveil /etc/callveil/keyring.json
  chmod 0640 "$root/etc/callveil/keyring.json"
  in_root install -d -m 0750 -o callveil -g callveil /var/log/callveil
  serves
  # Pages, completions, and what systemd and logrotate read.
  for file in usr/share/man/man1/callveil-keys-rotate.1.gz usr/share/bash-completion/completions/callveil \
    usr/lib/systemd/system/callveil.service usr/lib/sysusers.d/callveil.conf usr/lib/tmpfiles.d/callveil.conf \
    etc/logrotate.d/callveil; do
    [[ -s $root/$file ]] || fail "no $file"
  done

  cp -a "$root/etc/callveil/callveil.toml" "$folder/before.toml"
  kept >"$folder/before"
  installed "$new"
  kept | cmp - "$folder/before" || fail "the upgrade changed keys"
  cmp "$root/etc/callveil/callveil.toml" "$folder/before.toml" || fail "the upgrade changed the configuration"
  say "upgrades, and leaves keys and configuration as they were"
  serves

  kept >"$folder/before"
  removed "$new"
  kept | cmp - "$folder/before" || fail "the removal took keys along"
  if [[ -e $root/usr/bin/callveil || -e $root/usr/lib/systemd/system/callveil.service ]]; then fail "it is still there"; fi
  say "goes, and leaves: $(cut -c 67- "$folder/before" | xargs)"
}

main() {
  ((EUID == 0)) || fail "root is needed, for the clean root"
  need chroot curl ip unshare
  (($# == 2)) || fail "usage: $0 OLD NEW"
  [[ $2 != *.rpm ]] || need rpm
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  clean_root "$folder/root"
  chmod 0755 "$folder"
  unshare --mount --net --pid --fork --kill-child --mount-proc \
    bash "$0" --inside "$(realpath "$1")" "$(realpath "$2")" "$folder"
  say "passed: $(basename "$2")"
}

if [[ ${1-} == --inside ]]; then inside "${@:2}"; else main "$@"; fi
