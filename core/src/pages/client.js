// The page around the cards: which channel, which clients, how the work was spread.

const CLIENTS_MAX = 26;
const HUES = 8;
const ASK_MS = 2000;
const place = (id) => document.getElementById(id);
const apiToken = () => place('api-token').value.trim();

let channel;
let asked = 0;
const cards = [];
const stale = new Set();

function say(words, bad = false) {
  place('notice').textContent = words;
  place('notice').classList.toggle('bad', bad);
}

// Cards that changed are drawn together in the next frame.
function draw(card) {
  if (!stale.size) requestAnimationFrame(drawStale);
  stale.add(card);
}

function drawStale() {
  for (const card of stale) card.draw();
  stale.clear();
  drawSpread();
}

function drawSpread() {
  const most = Math.max(1, ...cards.map((card) => card.counted));
  for (const card of cards) {
    card.share.querySelector('.count').textContent = card.counted;
    card.share.querySelector('.fill').style.width = `${card.counted / most * 100}%`;
  }
}

function share(card, hue) {
  const row = document.createElement('li');
  row.className = `hue-${hue}`;
  for (const name of ['who', 'track', 'count']) {
    const part = document.createElement('span');
    part.className = name;
    row.append(part);
  }
  const fill = document.createElement('span');
  fill.className = 'fill';
  row.children[1].append(fill);
  row.children[0].textContent = `Client ${card.letter}`;
  return row;
}

function addCard(options = {}) {
  if (cards.length >= CLIENTS_MAX) return say(`${CLIENTS_MAX} clients are the most this page shows.`, true);
  const taken = new Set(cards.map((card) => card.letter));
  const number = Array.from({ length: CLIENTS_MAX }, (_, n) => n).find((n) => !taken.has(String.fromCharCode(65 + n)));
  const hue = number % HUES;
  const card = new Card(channel, String.fromCharCode(65 + number), hue, { apiToken, draw, changed: askSoon, remove: removeCard });
  card.share = share(card, hue);
  card.part('pull').checked = options.pull ?? true;
  card.part('auto').checked = options.auto ?? false;
  cards.push(card);
  place('cards').append(card.element);
  place('spread').append(card.share);
  card.connect();
  return card;
}

function removeCard(card) {
  card.disconnect();
  const at = cards.indexOf(card);
  cards.splice(at, 1);
  card.element.remove();
  card.share.remove();
  (cards[Math.min(at, cards.length - 1)]?.part('toggle') ?? place('add')).focus();
  drawSpread();
}

// Shows a channel, and as many clients as make its pattern visible.
function open(next, crew) {
  for (const card of [...cards]) { card.disconnect(); card.element.remove(); card.share.remove(); }
  cards.length = 0;
  channel = next;
  const kind = PATTERNS[channel.pattern];
  place('channel').hidden = place('stage').hidden = false;
  place('channel').classList.remove('gone');
  place('delete').disabled = false;
  place('channel-id').textContent = channel.id;
  place('channel-pattern').textContent = channel.pattern;
  place('channel-says').textContent = kind?.says ?? '';
  place('channel-token').textContent = channel.token;
  place('spread-title').textContent = kind?.counted ?? 'Messages received';
  showState(channel);
  for (let n = 0; n < crew; n += 1) {
    addCard({ pull: !(kind?.sender && crew > 1 && n === 0), auto: Boolean(kind?.envelope) && n > 0 });
  }
  place('channel').scrollIntoView({ block: 'start', behavior: 'smooth' });
}

function showState(state) {
  const limit = state.clientLimit >= 0 ? ` of ${state.clientLimit}` : '';
  place('channel-clients').textContent = `${state.clients}${limit}`;
  place('channel-countdown').textContent = span(state.countdown);
}

function showGone() {
  place('channel').classList.add('gone');
  place('delete').disabled = true;
  place('channel-clients').textContent = '0';
  place('channel-countdown').textContent = 'gone';
}

async function ask() {
  if (!channel || place('channel').classList.contains('gone')) return;
  asked = performance.now();
  const of = channel;
  try {
    const { data } = await call('GET', `/channels/${encodeURIComponent(channel.id)}`, apiToken());
    if (of === channel) showState(data);
  } catch (error) {
    if (of === channel && error.status === 404) showGone();
  }
}

function askSoon() {
  setTimeout(ask, 100);
}

setInterval(() => { if (!document.hidden && performance.now() - asked >= ASK_MS - 100) ask(); }, ASK_MS);

// Numbers go as numbers; what is none goes as it is, so that the node says what is wrong with it.
function wanted(id) {
  const text = place(id).value.trim();
  if (text === '') return undefined;
  return /^-?\d+$/.test(text) ? Number(text) : text;
}

place('create').onsubmit = async (event) => {
  event.preventDefault();
  const body = { pattern: place('pattern').value, clientLimit: wanted('client-limit'), timeout: wanted('timeout') };
  try {
    const { data, token } = await call('POST', '/channels', apiToken(), body);
    say(`Created ${data.id}. Its token is shown below and nowhere else.`);
    const room = data.clientLimit >= 0 ? data.clientLimit : Infinity;
    open({ ...data, token }, Math.min(PATTERNS[data.pattern]?.crew ?? 1, room));
  } catch (error) {
    say(error.message, true);
  }
};

async function join(id, token) {
  try {
    const { data } = await call('GET', `/channels/${encodeURIComponent(id)}`, apiToken());
    say(`Joined ${data.id}.`);
    open({ ...data, token }, 1);
  } catch (error) {
    say(error.message, true);
  }
}

place('join').onsubmit = (event) => {
  event.preventDefault();
  join(place('join-id').value.trim().toUpperCase(), place('join-token').value.trim());
};

// A link carries id and token behind the #, which no browser sends to a server; it is taken out of the address bar at once.
function fromLink() {
  const given = new URLSearchParams(location.hash.slice(1));
  const [id, token] = [given.get('id'), given.get('token')];
  if (!id || !token) return;
  history.replaceState(null, '', location.pathname + location.search);
  place('join-id').value = id;
  place('join-token').value = token;
  join(id, token);
}

place('copy-token').onclick = (event) => copyText(channel.token, event.currentTarget);
place('copy-link').onclick = (event) => {
  const fragment = new URLSearchParams({ id: channel.id, token: channel.token });
  copyText(`${location.origin}/client#${fragment}`, event.currentTarget);
};
place('delete').onclick = () => { place('sure').returnValue = ''; place('sure').showModal(); };
place('sure').onclose = async () => {
  if (place('sure').returnValue !== 'yes') return;
  try {
    await call('DELETE', `/channels/${encodeURIComponent(channel.id)}`, apiToken());
    say(`Deleted ${channel.id}.`);
    showGone();
  } catch (error) {
    say(error.message, true);
    if (error.status === 404) showGone();
  }
};
place('add').onclick = () => addCard({ auto: Boolean(PATTERNS[channel.pattern]?.envelope) });
place('connect-all').onclick = () => cards.forEach((card) => card.connect());
place('disconnect-all').onclick = () => cards.forEach((card) => card.disconnect());
place('clear').onclick = () => cards.forEach((card) => card.reset());

const describe = () => { place('pattern-help').textContent = PATTERNS[place('pattern').value].says; };
place('pattern').onchange = describe;
describe();
// Where everything is guarded, this page was asked for with the API token in its address.
place('api-token').value = new URLSearchParams(location.search).get('auth') ?? '';
addEventListener('hashchange', fromLink);
fromLink();
