// CCC's two calls, as Node's fetch makes them: usage map.mjs URL USER PASSWORD (NODE_EXTRA_CA_CERTS for a private CA).

const [url, user, password] = process.argv.slice(2);
const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

async function call(Mode, Numbers) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ Numbers, Mode }),
  });
  const { Code, Results } = await answer.json();
  if (Code !== 0 || Results.some(({ Key }, at) => Key !== Numbers[at])) throw new Error(`code ${Code}`);
  return Results.map(({ Value }) => Value);
}

console.log((await call("UIDToPhone", await call("PhoneToUID", ["13988888888", "13788888888"]))).join(" "));
