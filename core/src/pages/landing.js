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

// The rest of a node's row: what it is, how far it is, how it is reached from here.
function memberCells(node, cluster) {
  const own = node.id === cluster.id;
  const link = cluster.links.find((candidate) => candidate.node === node.id);
  const behind = node.applied === null ? 0 : Math.max(0, cluster.committed - node.applied);
  const late = behind > 0 ? `, ${number.format(behind)} behind` : '';
  const trip = link?.roundTripUs ? `, ${number.format(link.roundTripUs / 1000)} ms` : '';
  return [
    [node.id, 'id'],
    [node.address ?? '–', ''],
    [node.role, node.role === 'leader' ? 'leads' : ''],
    node.live ? [`live${late}`, 'good'] : ['not live', 'bad'],
    own ? ['this node', ''] : link?.up ? [`up${trip}`, 'good'] : ['down', 'bad'],
  ];
}

function clusterWords(cluster) {
  const live = cluster.nodes.filter((node) => node.live).length;
  if (!cluster.cluster) return 'This node is in no cluster yet.';
  if (cluster.apart) return `Another cluster, with a node at ${cluster.apart}, holds channels as this one does: the two stay apart until one is joined to the other by hand.`;
  if (!cluster.leader) return 'No leader is known: channels can be neither created nor deleted until there is one.';
  if (cluster.nodes.length === 1) return 'One node, which leads itself. Any number can join it.';
  return `${cluster.nodes.length} nodes, ${live} of them live, one service: a client may connect to any. Term ${cluster.term}, epoch ${cluster.epoch}.`;
}

// False: it is guarded, and not asked for again.
async function refreshCluster() {
  const response = await fetch('/cluster', { headers, cache: 'no-store', signal: AbortSignal.timeout(5 * REFRESH_MS) });
  const panel = document.getElementById('cluster');
  if (!response.ok) {
    panel.hidden = true;
    return response.status !== 401 && response.status !== 403;
  }
  const { data } = await response.json();
  const rows = data.nodes.map((node) => {
    const row = document.createElement('tr');
    for (const [text, look] of memberCells(node, data)) {
      const cell = row.insertCell();
      cell.textContent = text;
      cell.className = look;
    }
    return row;
  });
  document.getElementById('cluster-words').textContent = clusterWords(data);
  document.getElementById('cluster-nodes').replaceChildren(...rows);
  panel.hidden = false;
  return true;
}

let showsCluster = true;
async function loop() {
  if (!document.hidden) {
    await refresh().catch(() => state('off', 'This node does not answer. Trying again…'));
    if (showsCluster) showsCluster = await refreshCluster().catch(() => true);
  }
  setTimeout(loop, REFRESH_MS);
}
loop();
