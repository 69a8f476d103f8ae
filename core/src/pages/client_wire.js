// What the relay's answers mean. No page element is touched here.

const PATTERNS = {
  'echo': { says: 'Every message comes back to its sender.', crew: 1, counted: 'Messages received' },
  'pub-sub': { says: 'Every message goes to every client, the sender included unless it opts out.', crew: 3, counted: 'Messages received' },
  'push-pull': { says: 'Every message goes to exactly one client, in turn. The first client here only sends; the others take the work.', crew: 3, sender: true, counted: 'Work received' },
  'req-repl': { says: 'A request goes to all other clients; each reply goes to the one that asked.', crew: 3, envelope: true, counted: 'Requests received' },
  'fan-in-out': { says: 'A request goes to exactly one client, in turn; its reply goes back to the one that asked.', crew: 3, envelope: true, sender: true, counted: 'Requests received' },
};

const CLOSE_CODES = {
  1000: 'closed normally', 1001: 'the node shuts down', 1002: 'protocol error', 1005: 'closed without a code',
  1006: 'the connection ended without a close frame', 1007: 'text that is not UTF-8', 1008: 'no answer to pings',
  1009: 'message too big', 1011: 'a fault of the node', 1012: 'the node left its cluster: connect again',
  1013: 'this client reads too slowly', 4404: 'channel deleted', 4408: 'channel timed out',
};

const bytesOf = (text) => new TextEncoder().encode(text);

function parseHex(text) {
  const digits = text.replace(/0x|[\s,:]/gi, '');
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) throw new Error('Hex needs pairs of digits, such as 00 ff 7e.');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

const HEX_SHOWN = 64;
function showHex(bytes) {
  const shown = Array.from(bytes.subarray(0, HEX_SHOWN), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return bytes.length > HEX_SHOWN ? `${shown} …` : shown;
}

const TEXT_SHOWN = 2000;
const shorten = (text) => text.length > TEXT_SHOWN ? `${text.slice(0, TEXT_SHOWN)} …` : text;

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

function span(ms) {
  if (ms < 0) return 'no limit';
  const seconds = Math.ceil(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(part).padStart(2, '0')).join(':');
}

const millis = (ms) => ms < 10 ? `${ms.toFixed(2)} ms` : `${ms.toFixed(0)} ms`;

// The JSON object of a request or a reply, or nothing.
function envelope(text) {
  if (text[0] !== '{' && !/^\s*\{/.test(text)) return undefined;
  try {
    const value = JSON.parse(text);
    return typeof value.type === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}

const CALL_MS_MAX = 15000;

// One REST call. Throws what the node says is wrong.
async function call(method, path, apiToken, body) {
  const headers = {};
  if (apiToken) headers.Authorization = `Bearer ${apiToken}`;
  if (body) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(CALL_MS_MAX) });
  } catch {
    throw Object.assign(new Error('The node does not answer.'), { status: 0 });
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const why = answer.detail ?? answer.message ?? answer.title ?? response.statusText;
  throw Object.assign(new Error(`${response.status}: ${why}`), { status: response.status });
}

// A browser is not told why a handshake was refused, so this asks the node in ways that a page can read.
async function whyRefused(channel, apiToken) {
  let state;
  try {
    state = (await call('GET', `/channels/${encodeURIComponent(channel.id)}`, apiToken)).data;
  } catch (error) {
    return error.status === 404 ? 'there is no such channel' : error.message;
  }
  const headers = { Authorization: `Bearer ${channel.token}` };
  if (apiToken) headers.Authentification = `Bearer ${apiToken}`;
  const probe = await fetch(`/channels/${encodeURIComponent(state.id)}/connect`, { headers, cache: 'no-store' }).catch(() => undefined);
  if (probe?.status === 401) return 'wrong token';
  if (state.clientLimit >= 0 && state.clients >= state.clientLimit) return `the channel is full (${state.clientLimit})`;
  return 'the node is at its limit, or this page\'s origin is not allowed';
}

