#!/usr/bin/env bash
# Shows, in a clean root with a systemd of its own, that the new package installs, serves as soon as there is a ring and a
# password, and goes without taking keys along; and that it takes the place of the old one while that runs. Needs root, systemd-nspawn and
# debootstrap (or a root with PACKAGES that it made, as $BASE), and leaves nothing behind.
#
#     deploy/checks/packages.sh OLD.deb NEW.deb          or OLD.rpm NEW.rpm
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"
readonly PACKAGES=systemd,systemd-sysv,logrotate,rpm,curl,ca-certificates
readonly CONFIG=/etc/callveil/callveil.toml RING=/etc/callveil/keyring.json AUDIT_LOG=/var/log/callveil/audit.log

# Runs a command quietly; what it said is told where it fails.
quietly() { "$@" >/check/output 2>&1 || fail "$*: $(</check/output)"; }

shown() { systemctl show --property "$1" --value callveil.service; }

installed() {
  case $1 in
    *.deb) quietly dpkg --install --force-confold "$1" ;;
    *.rpm) quietly rpm --upgrade --nodeps --nosignature "$1" ;;
  esac
}

removed() {
  case $1 in
    *.deb) quietly dpkg --remove callveil ;;
    *.rpm) quietly rpm --erase --nodeps callveil ;;
  esac
}

# What nothing but an operator may change.
keys() { sha256sum "$RING" && stat -c '%A %U:%G' "$RING" /etc/callveil; }

check_files() {
  local file
  for file in /usr/share/man/man1/callveil-keys-rotate.1.gz /usr/share/bash-completion/completions/callveil \
    /usr/lib/systemd/system/callveil.service /usr/lib/sysusers.d/callveil.conf /usr/lib/tmpfiles.d/callveil.conf \
    /etc/logrotate.d/callveil; do
    [[ -s $file ]] || fail "no $file"
  done
  [[ $(stat -c '%A %U:%G' $CONFIG) == '-rw-r----- root:callveil' ]] || fail "others can read the configuration"
  quietly systemd-analyze verify /usr/lib/systemd/system/callveil.service
  [[ ! -s /check/output ]] || fail "systemd-analyze verify: $(</check/output)"
}

# Not before there is a ring; then as deploy/README.md has it.
check_first_start() {
  if systemctl start callveil.service 2>/dev/null; then fail "it starts without a ring"; fi
  [[ $(shown ExecMainStatus) == 78 ]] || fail "without a ring: $(shown ExecMainStatus)"
  quietly callveil keys init --keyring $RING
  begin
  say "the unit starts once there are a ring and a password"
}

# The rest of deploy/README.md's steps, beside a ring.
begin() {
  callveil clients new-password >/check/made 2>/dev/null
  sed -n 's/^password: //p' /check/made >/check/password
  sed -i "s/^password_sha256 = .*/password_sha256 = [\"$(grep -o '[0-9a-f]\{64\}' /check/made)\"]/" $CONFIG
  quietly callveil config check $CONFIG --here
  systemd-tmpfiles --create && quietly systemctl enable --now callveil
  keys >/check/keys
  cp $CONFIG /check/begun.toml
}

call() {
  curl -sS --user "ccc:$(</check/password)" http://127.0.0.1:8443/ --data "{\"Numbers\": [\"$2\"], \"Mode\": \"$1\"}"
}

runs_as() { stat -c %U "/proc/$(shown MainPID)"; }

# The unit serves with the program that is installed, and opens the UID that the first one gave.
check_service() {
  local version uid
  eventually admin_says 200 /readyz
  version=$(callveil --version | cut -d ' ' -f 2)
  [[ $(curl -s http://127.0.0.1:9640/healthz) == *"\"version\":\"$version\""* ]] || fail "another program runs"
  uid=$(call PhoneToUID 13988888888 | grep -o '"Value":"[^"]*"' | cut -d '"' -f 4)
  [[ -s /check/uid ]] || echo "$uid" >/check/uid
  [[ $uid == "$(</check/uid)" ]] || fail "another UID"
  [[ $(call UIDToPhone "$uid") == *008613988888888* ]] || fail "no number"
  say "$version: serves as $(runs_as), and maps a number to a UID and back"
}

check_logrotate() {
  local before
  before=$(wc -l <$AUDIT_LOG)
  ((before > 0)) || fail "nothing is in the audit log"
  quietly logrotate --force /etc/logrotate.d/callveil
  eventually test -e $AUDIT_LOG
  check_service >/dev/null
  eventually grep -q '"event":"request"' $AUDIT_LOG
  say "logrotate moves the audit log away, and the service writes another"
}

# From the package $1 to $2, while it runs.
check_upgrade() {
  local pid
  installed "$1"
  begin
  check_service
  pid=$(shown MainPID)
  installed "$2"
  [[ $(shown MainPID) != "$pid" ]] || fail "the upgrade left the old program running"
  keys | cmp - /check/keys || fail "the upgrade changed keys"
  cmp $CONFIG /check/begun.toml || fail "the upgrade changed the configuration"
  say "upgrades, restarts what runs, and leaves keys and configuration as they were"
  check_service
}

check_removal() {
  local lines
  lines=$(cat /var/log/callveil/* | wc -l)
  removed "$1"
  [[ ! -e /usr/bin/callveil ]] || fail "the program is still there"
  [[ $(shown ActiveState) != active && ! -e /etc/systemd/system/multi-user.target.wants/callveil.service ]] ||
    fail "the service is still there"
  if [[ $1 == *.deb ]]; then
    cmp $CONFIG /check/begun.toml || fail "the removal took the configuration along"
    quietly dpkg --purge callveil
  fi
  [[ ! -e $CONFIG ]] || fail "the configuration is still there"
  keys | cmp - /check/keys || fail "the removal changed keys"
  (($(cat /var/log/callveil/* | wc -l) >= lines)) || fail "the removal took audit logs along"
  say "goes, with its service and configuration, and leaves keys and audit logs"
}

inside() {
  trap 'journalctl --no-pager --unit callveil.service | tail -n 30' ERR
  local old new
  old=$(echo /check/old.*) new=$(echo /check/new.*)
  installed "$new"
  [[ $(shown ActiveState) == inactive ]] || fail "it runs before there is a ring"
  check_files
  check_first_start
  check_service
  check_logrotate
  check_removal "$new"
  check_upgrade "$old" "$new"
  check_removal "$new"
}

main() {
  ((EUID == 0)) || fail "root is needed, for the clean root"
  need systemd-nspawn
  (($# == 2)) || fail "usage: $0 OLD NEW"
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "clean_up '$folder'" EXIT
  clean_root "$folder/root" "$PACKAGES"
  mkdir "$folder/check"
  cp "$1" "$folder/check/old.${1##*.}"
  cp "$2" "$folder/check/new.${2##*.}"
  boot "$folder/check" --directory="$folder/root"
  say "passed: $(basename "$2")"
}

if [[ ${1-} == --inside ]]; then inside; else main "$@"; fi
