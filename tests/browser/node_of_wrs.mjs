// A real server for the length of a test file: WRS_BIN, or what `cargo build` leaves.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.WRS_BIN ?? fileURLToPath(new URL('../../target/debug/wrs', import.meta.url));
const START_MS_MAX = 15000;
const STOP_MS_MAX = 5000;

export async function startNode(settings = {}) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WRS_')));
  const env = { ...inherited, WRS_API_PORT: '0', WRS_NODE_PORT: '0', WRS_DRAIN_TIMEOUT: '1000', ...settings };
  const child = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const port = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no port within ${START_MS_MAX} ms; the server said: ${said}`)), START_MS_MAX);
    const listen = (chunk) => {
      said += chunk;
      const found = /https?:\/\/[^\s/"]+:(\d+)/.exec(said);
      if (found && found[1] !== '0') { clearTimeout(late); resolve(found[1]); }
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.on('error', (error) => { clearTimeout(late); reject(new Error(`${BINARY}: ${error.message}; build it, or set WRS_BIN`)); });
    child.on('exit', (code) => { clearTimeout(late); reject(new Error(`exit ${code}; the server said: ${said}`)); });
  });
  const origin = `http://127.0.0.1:${port}`;
  return {
    origin,
    said: () => said,
    async create(pattern, more = {}, headers = {}) {
      const answer = await fetch(`${origin}/channels`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify({ pattern, ...more }),
      });
      const { data, token } = await answer.json();
      return { ...data, token };
    },
    async stop() {
      if (child.exitCode !== null) return;
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
      child.kill('SIGTERM');
      const [code, signal] = await once(child, 'exit');
      clearTimeout(late);
      if (code !== 0) throw new Error(`the server ended with ${signal ?? code}; it said: ${said}`);
    },
  };
}
