#!/bin/bash
# Sets up what `run.py` measures, in the folder given: some minutes, and 8 GB of disk for 10 million numbers.
#
#     apt-get install postgresql redis-server nodejs npm wrk python3-venv
#     benches/peers/setup.sh target/peers [NUMBERS]
#
# Each peer as its users would have it: packages of Debian, PyPI and npm, and their defaults. PostgreSQL does not run as
# root; where this script does, it runs as `postgres`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
numbers=${2:-10000000}
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/tmp)

# Python and Node.
[ -e venv/bin/uvicorn ] || python3 -m venv venv
venv/bin/pip install --quiet 'fastapi==0.165.*' 'uvicorn[standard]==0.54.*' 'asyncpg==0.32.*' 'redis==8.1.*' 'tink==1.16.*'
mkdir -p node
(cd node && npm install --silent --no-audit --no-fund fastify@5 pg@8 redis@6 2>/dev/null)

# PostgreSQL: a table for each of both sizes, in two databases, so that each is measured without the other.
if [ ! -e pg/full ]; then
  rm -rf pg && mkdir -p pg/sockets
  [ "$(id -u)" != 0 ] || chown -R postgres pg
  "${as[@]}" "$bin/initdb" -D pg/data -A trust -U callveil >pg/initdb.log
  "${as[@]}" "$bin/pg_ctl" -D pg/data -o "-c listen_addresses= -k $PWD/pg/sockets" -l pg/log -w start >/dev/null
  for size in 1000 "$numbers"; do
    "$bin/createdb" -h "$PWD/pg/sockets" -U callveil "numbers_$size"
    "$bin/psql" -q -v ON_ERROR_STOP=1 -h "$PWD/pg/sockets" -U callveil "numbers_$size" <<SQL
CREATE TABLE mapping (phone text NOT NULL, uid uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO mapping (phone) SELECT (13000000000 + number)::text FROM generate_series(0, $size - 1) AS number;
ALTER TABLE mapping ADD PRIMARY KEY (phone), ADD UNIQUE (uid);
VACUUM ANALYZE mapping;
SQL
  done
  "${as[@]}" "$bin/pg_ctl" -D pg/data -w stop >/dev/null
  touch pg/full
fi

# Redis: the same, each with a process of its own, whose snapshot is what there is on disk.
for size in 1000 "$numbers"; do
  [ ! -e "redis-$size/dump.rdb" ] || continue
  mkdir -p "redis-$size"
  redis-server --port 0 --unixsocket "$PWD/redis-$size/socket" --dir "$PWD/redis-$size" --save '' --daemonize yes >/dev/null
  until redis-cli -s "redis-$size/socket" ping >/dev/null 2>&1; do :; done
  python3 - "$size" <<'PY' | redis-cli -s "redis-$size/socket" --pipe >/dev/null
import random, sys

write = sys.stdout.write
for number in range(int(sys.argv[1])):
    phone, uid = str(13000000000 + number), f"{random.getrandbits(128):032x}"
    write(f"*3\r\n$3\r\nSET\r\n$13\r\np:{phone}\r\n$32\r\n{uid}\r\n*3\r\n$3\r\nSET\r\n$34\r\nu:{uid}\r\n$11\r\n{phone}\r\n")
PY
  redis-cli -s "redis-$size/socket" shutdown save
done
echo "$numbers" >numbers

# IronCore Alloy.
cargo build --quiet --release --manifest-path "$here/alloy/Cargo.toml" --target-dir alloy
