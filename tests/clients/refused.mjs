// A call with a wrong password and a body of 1 MB: usage refused.mjs URL https|fetch|http2. Prints the status, or why there
// is none, and the milliseconds.

import http2 from "node:http2";
import https from "node:https";

const [url, kind] = process.argv.slice(2);
const headers = { authorization: "Basic Y2NjOndyb25n" };
const body = "x".repeat(1_000_000);
const since = performance.now();
const tell = (status) => {
  console.log(`${status}`, performance.now() - since);
  process.exit(0);
};

if (kind === "fetch") {
  tell((await fetch(url, { method: "POST", headers, body })).status);
} else if (kind === "https") {
  const request = https.request(url, { method: "POST", headers }, (answer) => tell(answer.statusCode));
  request.on("error", (error) => tell(error.code));
  request.end(body);
} else {
  const session = http2.connect(url);
  session.on("error", (error) => tell(/no application protocol/i.test(error.message) ? "no-application-protocol" : error.message));
  const stream = session.request({ ":method": "POST", ":path": "/", ...headers });
  stream.on("response", (answer) => tell(answer[":status"]));
  stream.on("error", () => {});
  stream.end(body);
}
