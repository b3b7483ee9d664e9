// Looks at pages as people do, with headless Chromium, spoken with over two pipes; and as axe-core does, which finds what
// people who do not see, or have no mouse, would stumble over.
//
//     node look.mjs AXE.js PROFILE SHOTS NAME=URL...
//
// Each page is looked at in a narrow and a wide window, light and dark. What is wrong goes to stdout, a line each, and makes
// the exit code 1. SHOTS is a folder for pictures, or empty.

import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const [axe, profile, shots, ...pages] = process.argv.slice(2);
const source = readFileSync(axe, 'utf8');
const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--no-first-run', '--no-proxy-server', '--hide-scrollbars',
  `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank'];
const chromium = spawn('chromium', flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [input, output] = [chromium.stdio[3], chromium.stdio[4]];
const waiting = new Map(), events = [];
let next = 1, rest = '', heard = () => {};

output.setEncoding('utf8');
output.on('data', (data) => {
  const messages = (rest + data).split('\0');
  rest = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    if (message.id) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    } else {
      events.push(message);
      heard();
    }
  }
});

const send = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
  const id = next++;
  waiting.set(id, { resolve, reject });
  input.write(JSON.stringify({ id, method, params, sessionId }) + '\0');
});

const event = async (method) => {
  for (;;) {
    const found = events.find((one) => one.method === method);
    if (found) return found;
    await new Promise((resolve) => { heard = resolve; });
  }
};

let wrong = 0;
const tell = (text) => { wrong += 1; console.log(text); };

try {
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const run = async (expression) => {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  await call('Page.enable');
  await call('Log.enable');
  await call('Runtime.enable');
  for (const page of pages) {
    const at = page.indexOf('=');
    const [name, url] = [page.slice(0, at), page.slice(at + 1)];
    for (const width of [400, 1280]) {
      for (const scheme of ['light', 'dark']) {
        const where = `${name}-${width}-${scheme}`;
        events.length = 0;
        await call('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 600 });
        await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
        const { errorText } = await call('Page.navigate', { url });
        if (errorText) { tell(`${where}: ${errorText}`); continue; }
        await event('Page.loadEventFired');
        const title = await run('document.title');
        if (!title.startsWith('callveil replica')) tell(`${where}: the title is ${title}`);
        const wide = await run('document.scrollingElement.scrollWidth');
        if (wide > width) tell(`${where}: ${wide} pixels wide`);
        const cut = await run(`[...document.querySelectorAll('.wide')].filter((box) => box.scrollWidth > box.clientWidth + 1)
          .map((box) => box.ariaLabel + ' ' + box.scrollWidth)`);
        if (cut.length > 0) tell(`${where}: scrolls sideways: ${cut.join(', ')}`);
        const styled = await run(`getComputedStyle(document.querySelector('caption')).textAlign`);
        if (!['left', 'start'].includes(styled)) tell(`${where}: the style is not in force: ${styled}`);
        // By keyboard: the first Tab must reach something, which shows it.
        await call('Input.dispatchKeyEvent', { type: 'keyDown', key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 });
        await call('Input.dispatchKeyEvent', { type: 'keyUp', key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 });
        const focus = await run(`getComputedStyle(document.activeElement).outlineStyle + document.activeElement.className`);
        if (focus !== 'solidwide') tell(`${where}: Tab reaches ${focus}`);
        await run('document.activeElement.blur()');
        await run(source + ';0');
        const { violations, incomplete } = await run('axe.run(document)');
        // What stands behind text in a picture it cannot tell: the same colours stand beside it outside of pictures.
        const open = incomplete.filter(({ id, nodes }) => id !== 'color-contrast' || nodes.some(({ html }) => !html.startsWith('<text ')));
        for (const { id, help, nodes } of [...violations, ...open]) {
          tell(`${where}: ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`);
        }
        for (const { method, params } of events) {
          if (method === 'Log.entryAdded' && !params.entry.url?.endsWith('/favicon.ico')) tell(`${where}: ${params.entry.text}`);
          if (method === 'Runtime.exceptionThrown') tell(`${where}: ${params.exceptionDetails.text}`);
        }
        if (shots) {
          const { cssContentSize: { height } } = await call('Page.getLayoutMetrics');
          const clip = { x: 0, y: 0, width, height, scale: 1 };
          const { data } = await call('Page.captureScreenshot', { clip, captureBeyondViewport: true });
          writeFileSync(`${shots}/${where}.png`, Buffer.from(data, 'base64'));
        }
      }
    }
  }
  await send('Browser.close');
} catch (error) {
  tell(String(error));
  chromium.kill();
}
await new Promise((resolve) => (chromium.exitCode ?? chromium.signalCode) !== null ? resolve() : chromium.on('exit', resolve));
process.exit(wrong > 0 ? 1 : 0);
