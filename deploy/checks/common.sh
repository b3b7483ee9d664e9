# shellcheck shell=bash
# What the checks beside this file share: files as an operator would make them, and calls as CCC makes them. Sourced.

say() { printf '%s\n' "$*"; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# Stops the check, with whom to ask for it, where a program is not installed.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null || fail "$program is not installed"
  done
}

# Makes the folder $1 a Debian of the smallest kind, with the packages $2 where there are some: a copy of $BASE, where
# that names such a root.
clean_root() {
  if [[ -n ${BASE-} ]]; then
    cp -a --one-file-system "$BASE" "$1"
  else
    need debootstrap
    debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$1" >"$1.said" || fail "$(tail "$1.said")"
  fi
}

# Runs a command again until it succeeds, for at most 30 seconds.
eventually() {
  local _
  for _ in {1..300}; do
    if "$@"; then return; fi
    sleep 0.1
  done
  fail "not within 30 seconds: $*"
}

# Makes, in the folder $1 with the program $2: identity, keyring.json, tls.crt, tls.key, and the text files password,
# password_sha256, token and token_sha256.
make_files() {
  local folder=$1 callveil=$2 recipient made name
  age-keygen -o "$folder/identity" 2>/dev/null
  recipient=$(age-keygen -y "$folder/identity")
  "$callveil" keys init --keyring "$folder/keyring.json" --recipient "$recipient" >/dev/null 2>&1
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=callveil \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
  for name in password token; do
    made=$("$callveil" clients new-password 2>/dev/null)
    sed -n 's/^password: //p' <<<"$made" >"$folder/$name"
    grep -o '[0-9a-f]\{64\}' <<<"$made" >"$folder/${name}_sha256"
  done
}

# The configuration $1 with the hashes of the folder $2 in the places that are left to fill in.
filled_in() {
  sed -e "s/^token_sha256 = .*/token_sha256 = \"$(<"$2/token_sha256")\"/" \
    -e "s/^password_sha256 = .*/password_sha256 = [\"$(<"$2/password_sha256")\"]/" "$1"
}

# What the mode $2 makes of $3, over TLS, with the files of the folder $1.
map() {
  curl -sS --cacert "$1/tls.crt" --user "ccc:$(<"$1/password")" https://127.0.0.1:8443/ \
    --data "{\"Numbers\": [\"$3\"], \"Mode\": \"$2\"}" | grep -o '"Value":"[^"]*"' | cut -d '"' -f 4
}

# Maps a number there and back, with the files of the folder $1.
map_both_ways() {
  local uid number
  uid=$(map "$1" PhoneToUID 13988888888)
  ((${#uid} == 40)) || fail "no UID: $uid"
  number=$(map "$1" UIDToPhone "$uid")
  [[ $number == 008613988888888 ]] || fail "another number: $number"
  say "maps a number to a UID and back, over TLS"
}

# The status of the admin listener's $1; 000 where nobody answers.
admin_status() { curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:9640$1" "${@:2}" || true; }

admin_says() { [[ $(admin_status "$2" "${@:3}") == "$1" ]]; }

# Whether the running ring has generation $2, asked with the token of the folder $1.
has_generation() {
  curl -s --oauth2-bearer "$(<"$1/token")" http://127.0.0.1:9640/keyring | grep -q "\"generation\":$2,"
}

# What the kernel says of the process $1: whose it is, what it may do, and whether it is confined.
privileges() { grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "/proc/$1/status"; }

# Boots a systemd of its own in a container with no way out, and has it run this script with `--inside`: /check there is
# the folder $1, and /deploy what is above this file. What follows are options of systemd-nspawn, the root among them.
boot() {
  local folder=$1 keep=() code=0
  # Where there is no systemd to make a cgroup for the container, it makes two in ours.
  [[ -d /run/systemd/system ]] || keep=(--keep-unit)
  cat >"$folder/check.service" <<UNIT
[Service]
Type=oneshot
ExecStart=/bin/bash /deploy/checks/$(basename "$0") --inside
ExecStopPost=/bin/bash -c 'systemctl exit \$EXIT_STATUS'
StandardOutput=file:/check/said
StandardError=inherit
UNIT
  # A container may lock no memory by itself; the machine would let the unit do so.
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 300 systemd-nspawn --quiet --settings=no --register=no "${keep[@]}" \
    --private-network --system-call-filter=@memlock --console=pipe "${@:2}" \
    --bind-ro="$(dirname "${BASH_SOURCE[0]}")/..:/deploy" --bind="$folder:/check" \
    --bind-ro="$folder/check.service:/run/systemd/system/check.service" \
    --boot -- systemd.unit=check.service systemd.log_level=warning </dev/null >"$folder/console" 2>&1 || code=$?
  cat "$folder/said" || cat "$folder/console"
  ((code == 0)) || fail "with $code"
}

# Removes the folders that follow, and the cgroups that `boot` left.
clean_up() {
  local cgroup
  rm -rf "$@"
  cgroup=$(sed -n 's/^0:://p' /proc/self/cgroup)
  find /sys/fs/cgroup{,/unified,/systemd}"${cgroup%/}"/{payload,supervisor} -depth -type d -exec rmdir {} \; \
    2>/dev/null || true
}
