"""The wire of CCC over a mapping table, as a team would write it: FastAPI, and PostgreSQL or Redis.

STORE is `postgresql://...` or `redis://...`. Of what callveil does beside, this does nothing: no audit log, no limits, no
rotation, and numbers are hardly normalised.
"""

import os
import uuid
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from wire import Answer, Call, Result, authenticate

STORE = os.environ["STORE"]
CONNECTIONS = 10


class Postgres:
    async def open(self):
        import asyncpg

        self.pool = await asyncpg.create_pool(STORE, min_size=CONNECTIONS, max_size=CONNECTIONS)

    async def uids(self, phones):
        query = "SELECT phone, uid FROM mapping WHERE phone = ANY($1)"
        found = dict(await self.pool.fetch(query, phones))
        missing = [phone for phone in phones if phone not in found]
        if missing:
            insert = "INSERT INTO mapping (phone) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
            await self.pool.execute(insert, missing)
            found |= dict(await self.pool.fetch(query, missing))
        return {phone: found[phone].hex for phone in phones}

    async def phones(self, uids):
        query = "SELECT uid, phone FROM mapping WHERE uid = ANY($1)"
        found = await self.pool.fetch(query, [uuid.UUID(uid) for uid in uids])
        return {uid.hex: phone for uid, phone in found}


class Redis:
    async def open(self):
        import redis.asyncio

        pool = redis.asyncio.BlockingConnectionPool.from_url(STORE, max_connections=CONNECTIONS, decode_responses=True)
        self.redis = redis.asyncio.Redis(connection_pool=pool)

    async def uids(self, phones):
        found = dict(zip(phones, await self.redis.mget([f"p:{phone}" for phone in phones])))
        for phone, uid in found.items():
            if uid is None:
                made = uuid.uuid4().hex
                # The way back first: a UID that was given out must always lead to its number.
                await self.redis.set(f"u:{made}", phone)
                other = await self.redis.set(f"p:{phone}", made, nx=True, get=True)
                found[phone] = other or made
        return found

    async def phones(self, uids):
        return dict(zip(uids, await self.redis.mget([f"u:{uid}" for uid in uids])))


store = Postgres() if STORE.startswith("postgresql:") else Redis()


@asynccontextmanager
async def lifespan(_):
    await store.open()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/", dependencies=[Depends(authenticate)])
async def answer(call: Call) -> Answer:
    if call.Mode == "PhoneToUID":
        phones = [number.removeprefix("+86").removeprefix("0086") for number in call.Numbers]
        found = await store.uids(phones)
        values = [found[phone] for phone in phones]
    else:
        found = await store.phones(call.Numbers)
        values = ["0086" + found[uid] for uid in call.Numbers]
    return Answer(Code=0, Results=[Result(Key=key, Value=value) for key, value in zip(call.Numbers, values)])
