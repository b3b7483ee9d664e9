// npm's age-encryption, an implementation of age that shares no code with ours:
//   age.mjs PACKAGE generate                     a post-quantum identity and its recipient, a line each
//   age.mjs PACKAGE recipient IDENTITY           the recipient of an identity
//   age.mjs PACKAGE encrypt RECIPIENT IN OUT     encrypts a file
//   age.mjs PACKAGE decrypt IDENTITY IN OUT      opens one
// PACKAGE is the folder of the package.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
const [folder, command, key, from, to] = process.argv.slice(2);
const age = await import(pathToFileURL(path.resolve(folder, "dist/index.js")));
if (command === "generate") {
  const identity = await age.generateHybridIdentity();
  console.log(identity);
  console.log(await age.identityToRecipient(identity));
} else if (command === "recipient") {
  console.log(await age.identityToRecipient(key));
} else if (command === "encrypt") {
  const encrypter = new age.Encrypter();
  encrypter.addRecipient(key);
  fs.writeFileSync(to, await encrypter.encrypt(fs.readFileSync(from)), { mode: 0o600 });
} else if (command === "decrypt") {
  const decrypter = new age.Decrypter();
  decrypter.addIdentity(key);
  fs.writeFileSync(to, await decrypter.decrypt(fs.readFileSync(from)), { mode: 0o600 });
} else {
  throw new Error("no such command");
}
