// The wire of CCC over a mapping table, as a team would write it: Fastify, and PostgreSQL or Redis. See table.py.

import { randomUUID, timingSafeEqual } from "node:crypto";
import Fastify from "fastify";

const CONNECTIONS = 10;
const { STORE, CLIENT, PASSWORD, PORT } = process.env;
const authorization = Buffer.from("Basic " + Buffer.from(`${CLIENT}:${PASSWORD}`).toString("base64"));

async function postgres() {
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({ connectionString: STORE, max: CONNECTIONS });
  const rows = async (name, text, values) => (await pool.query({ name, text, values: [values] })).rows;
  const uids = (phones) => rows("uids", "SELECT phone, uid FROM mapping WHERE phone = ANY($1)", phones);
  return {
    async uids(phones) {
      const found = new Map((await uids(phones)).map((row) => [row.phone, row.uid]));
      const missing = phones.filter((phone) => !found.has(phone));
      if (missing.length > 0) {
        const insert = "INSERT INTO mapping (phone) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";
        await rows("insert", insert, missing);
        for (const row of await uids(missing)) found.set(row.phone, row.uid);
      }
      return phones.map((phone) => found.get(phone).replaceAll("-", ""));
    },
    async phones(uids) {
      const found = await rows("phones", "SELECT uid, phone FROM mapping WHERE uid = ANY($1::uuid[])", uids);
      const phones = new Map(found.map((row) => [row.uid.replaceAll("-", ""), row.phone]));
      return uids.map((uid) => phones.get(uid));
    },
  };
}

async function redis() {
  const { createClient } = await import("redis");
  const client = await createClient({ url: STORE }).connect();
  return {
    async uids(phones) {
      const found = await client.mGet(phones.map((phone) => `p:${phone}`));
      return Promise.all(
        found.map(async (uid, at) => {
          if (uid !== null) return uid;
          const made = randomUUID().replaceAll("-", "");
          // The way back first: a UID that was given out must always lead to its number.
          await client.set(`u:${made}`, phones[at]);
          return (await client.set(`p:${phones[at]}`, made, { NX: true, GET: true })) ?? made;
        }),
      );
    },
    phones: (uids) => client.mGet(uids.map((uid) => `u:${uid}`)),
  };
}

const store = await (STORE.startsWith("postgresql:") ? postgres() : redis());
const app = Fastify();

app.addHook("onRequest", async (request, reply) => {
  const given = Buffer.from(request.headers.authorization ?? "");
  if (given.length !== authorization.length || !timingSafeEqual(given, authorization)) {
    return reply.code(401).header("www-authenticate", "Basic").send();
  }
});

const body = {
  type: "object",
  required: ["Numbers", "Mode"],
  properties: {
    Numbers: { type: "array", items: { type: "string" } },
    Mode: { enum: ["PhoneToUID", "UIDToPhone"] },
  },
};
const result = { type: "object", properties: { Key: { type: "string" }, Value: { type: "string" } } };
const answer = { type: "object", properties: { Code: { type: "integer" }, Results: { type: "array", items: result } } };

app.post("/", { schema: { body, response: { 200: answer } } }, async ({ body: { Numbers, Mode } }) => {
  let values;
  if (Mode === "PhoneToUID") {
    values = await store.uids(Numbers.map((number) => number.replace(/^(\+86|0086)/, "")));
  } else {
    values = (await store.phones(Numbers)).map((phone) => "0086" + phone);
  }
  return { Code: 0, Results: Numbers.map((Key, at) => ({ Key, Value: values[at] })) };
});

await app.listen({ host: "127.0.0.1", port: Number(PORT) });
