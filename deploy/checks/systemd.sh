#!/usr/bin/env bash
# Shows that the unit's sandbox fits what callveil does: boots a systemd of its own in a container of this machine's
# /usr (systemd-nspawn, with no way out), installs there what is in deploy/systemd, and drives the service through its
# life. Needs root, and leaves nothing behind; no systemd need run on the machine.
#
#     deploy/checks/systemd.sh PROGRAM
set -Eeuo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$here/common.sh"

shown() { systemctl show --property "$1" --value callveil.service; }

# Whether the property $1 of the service has the value $2.
has() { [[ $(shown "$1") == "$2" ]]; }

drop_in() {
  mkdir -p /run/systemd/system/callveil.service.d
  printf '[Service]\n%s\n' "$@" >/run/systemd/system/callveil.service.d/check.conf
  systemctl daemon-reload
}

# The unit's configuration, as for CCC itself: on all addresses, over TLS.
configuration() {
  callveil config example | sed -f "$1/callveil.sed" |
    sed -e 's/^listen = "127.0.0.1:8443"/listen = "0.0.0.0:8443"/' -e '/^#\[tls\]/,/^\[admin\]/s/^#\([a-z[]\)/\1/'
}

install_all() {
  local unit=$1/../systemd said
  systemd-sysusers "$unit/callveil.sysusers"
  mkdir /etc/callveil
  configuration "$unit" >/check/callveil.toml
  filled_in /check/callveil.toml /check >/etc/callveil/callveil.toml
  cp /check/{identity,keyring.json,tls.crt,tls.key} /etc/callveil
  systemd-tmpfiles --create "$unit/callveil.tmpfiles"
  cp "$unit/callveil.service" /etc/systemd/system
  cp "$unit/callveil.logrotate" /etc/callveil.logrotate
  ls -l /etc/callveil
  said=$(systemd-analyze verify /etc/systemd/system/callveil.service 2>&1) || true
  [[ -z $said ]] || fail "systemd-analyze verify: $said"
  say "systemd-analyze verify prints nothing"
  systemd-analyze security --offline=true --threshold=20 /etc/systemd/system/callveil.service | tail -n 1
  # What the filter refuses ends the process here, instead of failing: whatever gets through to the end needed nothing
  # that is refused.
  drop_in SystemCallErrorNumber=kill WatchdogSec=2
}

check_start() {
  local pid
  systemctl start callveil.service
  pid=$(shown MainPID)
  say "started: systemctl waited for READY=1 (Type=$(shown Type))"
  privileges "$pid"
  grep -E '^(Max open files|Max locked memory|Max core file size)' "/proc/$pid/limits"
  admin_says 200 /readyz || fail "it said READY=1 before it was"
  map_both_ways /check
}

check_sandbox() {
  local pid root written=() path
  pid=$(shown MainPID)
  root=/proc/$pid/root
  # As its own user, in its own view of the file system: what can be written to at all.
  while read -r path; do
    [[ -w $root$path ]] && written+=("$path")
  done < <(nsenter --target "$pid" --mount setpriv --reuid callveil --regid callveil --clear-groups \
    find / -path /proc -prune -o -type d -writable -print 2>/dev/null)
  say "can write to: ${written[*]}"
}

check_reload() {
  local ring=/etc/callveil/keyring.json new
  callveil keys rotate --keyring "$ring" --identity /etc/callveil/identity >/dev/null 2>&1
  eventually has_generation /check 2
  say "takes up a rotated key ring by itself: $(stat -c '%A %U:%G' "$ring")"
  new=$(callveil clients new-password 2>/dev/null)
  cp /check/password /check/password.old
  sed -n 's/^password: //p' <<<"$new" >/check/password
  grep -o '[0-9a-f]\{64\}' <<<"$new" >/check/password_sha256
  filled_in /check/callveil.toml /check >/etc/callveil/callveil.toml
  systemctl reload callveil.service
  eventually map /check PhoneToUID 13988888888 >/dev/null
  say "systemctl reload: takes up a changed password"
}

# The configuration may send the audit log to the journal.
check_logrotate() {
  local log=/var/log/callveil/audit.log before
  if [[ ! -e $log ]]; then
    say "no audit log is configured"
    return
  fi
  before=$(wc -l <"$log")
  logrotate --force --state /tmp/logrotate.state /etc/callveil.logrotate
  eventually test -e "$log"
  map_both_ways /check
  eventually grep -q '"event":"request"' "$log"
  say "logrotate: $before lines moved away, and $(wc -l <"$log") written since: $(stat -c '%A %U:%G' "$log")"
}

check_watchdog() {
  kill -STOP "$(shown MainPID)"
  eventually has NRestarts 1
  eventually has SubState running
  eventually admin_says 200 /readyz
  say "the watchdog restarts it when it hangs"
}

check_stop() {
  systemctl stop callveil.service
  has Result success || fail "stop: $(shown Result)"
  has ExecMainStatus 0 || fail "stop: exit code $(shown ExecMainStatus)"
  say "stops with exit code 0, within TimeoutStopSec"
  sed -i s/^keyring/keyrink/ /etc/callveil/callveil.toml
  if systemctl start callveil.service 2>/dev/null; then fail "it starts with a bad configuration"; fi
  has ExecMainStatus 78 || fail "a bad configuration: exit code $(shown ExecMainStatus)"
  has ActiveState failed || fail "a bad configuration: $(shown ActiveState)"
  say "a bad configuration: exit code 78, and no restart"
}

# The first process of the container's own making: everything in order, and the container ends with it.
inside() {
  trap 'journalctl --no-pager --unit callveil.service | tail -n 30' ERR
  ip link set lo up
  install_all /deploy/checks
  check_start
  check_sandbox
  check_reload
  check_logrotate
  check_watchdog
  check_stop
  if journalctl --no-pager --unit callveil.service | grep -i 'bad system call\|status=31/SYS'; then
    fail "the filter refused a system call"
  fi
}

main() {
  need age-keygen curl logrotate openssl systemd-nspawn
  ((EUID == 0)) || fail "root is needed, for the container"
  local folder program=${1:?"usage: $0 PROGRAM"}
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "clean_up '$folder'" EXIT
  make_files "$folder" "$program"
  boot "$folder" --directory=/ --volatile=yes --tmpfs=/usr/local/bin \
    --bind-ro="$(realpath "$program"):/usr/local/bin/callveil"
  say "passed"
}

if [[ ${1-} == --inside ]]; then inside; else main "$@"; fi
