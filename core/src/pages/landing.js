// Whoever reads this page has reached the node under this address, so the examples name it.
const bases = { http: location.origin, ws: location.origin.replace(/^http/, 'ws') };
for (const place of document.querySelectorAll('[data-base]')) place.textContent = bases[place.dataset.base];

const REFRESH_MS = 2000;
const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1, notation: 'compact' });
const shown = (id, value) => { document.getElementById(id).textContent = value === undefined ? '–' : number.format(value); };

// Sums each metric over its labels: name → value (Prometheus text format 0.0.4).
function readMetrics(text) {
  const sums = new Map();
  for (const line of text.split('\n')) {
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? ([^ ]+)/.exec(line);
    if (sample) sums.set(sample[1], (sums.get(sample[1]) ?? 0) + Number(sample[2]));
  }
  return sums;
}

function state(mark, words) {
  document.getElementById('pulse').className = `pulse ${mark}`;
  document.getElementById('fresh').textContent = words;
}

// Where everything is guarded, this page was asked for with the API token in its address.
const token = new URLSearchParams(location.search).get('auth');
const headers = token ? { Authorization: `Bearer ${token}` } : {};

let before;
async function refresh() {
  const response = await fetch('/metrics', { headers, cache: 'no-store', signal: AbortSignal.timeout(5 * REFRESH_MS) });
  if (response.status === 401) return state('', 'The counts stand behind this node\'s API token.');
  if (!response.ok) return state('off', `This node answers ${response.status} to /metrics.`);
  const sums = readMetrics(await response.text());
  const now = { at: performance.now(), in: sums.get('wrs_messages_received_total'), out: sums.get('wrs_messages_sent_total') };
  const perSecond = (name) => before && Math.max(0, (now[name] - before[name]) / (now.at - before.at) * 1000);
  shown('count-channels', sums.get('wrs_channels'));
  shown('count-clients', sums.get('wrs_clients'));
  shown('rate-in', perSecond('in'));
  shown('rate-out', perSecond('out'));
  before = now;
  state('on', 'Counted anew every two seconds.');
}

async function loop() {
  if (!document.hidden) await refresh().catch(() => state('off', 'This node does not answer. Trying again…'));
  setTimeout(loop, REFRESH_MS);
}
loop();
