// One client: a connection and the card that shows it.

const LOG_LINES_MAX = 500;
const AWAITED_MAX = 1000;
const TRIPS_MAX = 200;

class Card {
  constructor(channel, letter, hue, settings) {
    this.channel = channel;
    this.kind = PATTERNS[channel.pattern] ?? PATTERNS['pub-sub'];
    this.letter = letter;
    this.settings = settings;
    this.element = document.getElementById('card').content.cloneNode(true).firstElementChild;
    this.element.classList.add(`hue-${hue}`);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.list = this.element.querySelector('.log ol');
    this.pending = [];
    this.requests = 0;
    this.reset();
    this.label();
    this.listen();
    this.show('idle', 'not connected');
  }

  reset() {
    this.sent = this.received = this.counted = this.sentBytes = this.receivedBytes = 0;
    this.awaited = [];
    this.trips = [];
    this.pending.length = 0;
    this.list.replaceChildren();
    this.changed();
  }

  // Names every control after the client, for whoever hears the page instead of seeing it.
  label() {
    const name = `Client ${this.letter}`;
    this.element.querySelector('h3').textContent = name;
    this.element.setAttribute('aria-label', name);
    this.part('remove').setAttribute('aria-label', `Remove client ${this.letter}`);
    this.part('log').setAttribute('aria-label', `Messages of client ${this.letter}`);
    for (const field of ['kind', 'body', 'file']) {
      const id = `${field}-${this.letter}`;
      this.part(field).id = id;
      this.part(`${field}-label`).htmlFor = id;
    }
    const { pattern } = this.channel;
    this.part('for-echo').hidden = pattern !== 'pub-sub';
    this.part('for-pull').hidden = pattern !== 'push-pull' && pattern !== 'fan-in-out';
    this.part('for-auto').hidden = !this.kind.envelope;
    if (!this.kind.envelope) this.part('kind').querySelector('[value=request]').remove();
    this.part('body').value = `hello from ${this.letter}`;
  }

  listen() {
    this.part('toggle').onclick = () => this.socket ? this.disconnect() : this.connect();
    this.part('remove').onclick = () => this.settings.remove(this);
    this.part('kind').onchange = () => this.chooseKind();
    this.part('composer').onsubmit = (event) => { event.preventDefault(); this.sendComposed(1); };
    this.part('ten').onclick = () => this.sendComposed(10);
    this.part('body').onkeydown = (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.sendComposed(1); }
    };
    // What a client asks for counts at the handshake, so that a change means a new one.
    this.part('echo').onchange = this.part('pull').onchange = () => { if (this.socket) { this.disconnect(); this.connect(); } };
    this.chooseKind();
  }

  chooseKind() {
    const kind = this.part('kind').value;
    this.part('body').hidden = kind === 'file';
    this.part('file').hidden = kind !== 'file';
    this.part('body').placeholder = kind === 'hex' ? '00 ff 7e' : '';
    this.part('send').textContent = kind === 'request' ? 'Send request' : 'Send';
  }

  show(state, words) {
    this.element.dataset.state = state;
    const status = this.part('status');
    if (status.textContent !== words) status.textContent = words;
    this.part('toggle').textContent = this.socket ? 'Disconnect' : 'Connect';
    this.part('send').disabled = this.part('ten').disabled = state !== 'open';
  }

  // Tokens go as subprotocols: an address ends up in histories and logs.
  connect() {
    if (this.socket) return;
    const query = new URLSearchParams();
    if (!this.part('for-echo').hidden && !this.part('echo').checked) query.set('echo', 'false');
    if (!this.part('for-pull').hidden && !this.part('pull').checked) query.set('pull', 'false');
    const base = location.origin.replace(/^http/, 'ws');
    const options = query.size ? `?${query}` : '';
    const protocols = [`wrs.token.${this.channel.token}`];
    const apiToken = this.settings.apiToken();
    if (apiToken) protocols.push(`wrs.auth.${apiToken}`);
    let socket;
    try {
      socket = new WebSocket(`${base}/channels/${encodeURIComponent(this.channel.id)}/connect${options}`, protocols);
    } catch {
      this.note('bad', 'A token holds characters that a subprotocol cannot carry.');
      return;
    }
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.show('open', 'connected');
      this.note('info', `connected ${options}`);
      this.settings.changed();
    };
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => { if (this.socket === socket) this.ended(event, opened); };
    this.show('wait', 'connecting');
  }

  disconnect() {
    const socket = this.socket;
    if (!socket) return;
    socket.onmessage = socket.onclose = socket.onopen = null;
    socket.close(1000);
    this.socket = undefined;
    this.awaited.length = 0;
    this.show('idle', 'not connected');
    this.note('info', 'disconnected by this page');
    this.settings.changed();
  }

  async ended(event, opened) {
    this.socket = undefined;
    this.awaited.length = 0;
    if (!opened) {
      this.show('bad', 'refused');
      this.note('bad', `refused: ${await whyRefused(this.channel, this.settings.apiToken())}`);
      return;
    }
    const meaning = CLOSE_CODES[event.code] ?? 'a code of the application';
    this.show(event.code === 1000 ? 'idle' : 'bad', `closed ${event.code}: ${meaning}`);
    this.note(event.code === 1000 ? 'info' : 'bad', `closed ${event.code}: ${meaning}${event.reason ? ` (“${event.reason}”)` : ''}`);
    this.settings.changed();
  }

  async sendComposed(times) {
    if (this.element.dataset.state !== 'open') return;
    const kind = this.part('kind').value;
    const body = this.part('body').value;
    try {
      let binary;
      if (kind === 'hex') binary = parseHex(body);
      if (kind === 'file') {
        const file = this.part('file').files[0];
        if (!file) throw new Error('Choose a file first.');
        binary = new Uint8Array(await file.arrayBuffer());
      }
      for (let n = 1; n <= times; n += 1) {
        const text = times > 1 ? `${body} ${n}` : body;
        if (binary) this.send(binary);
        else if (kind === 'request') this.request(text);
        else this.send(text);
      }
    } catch (error) {
      this.note('bad', error.message);
    }
  }

  request(body) {
    this.requests += 1;
    const id = `${this.letter}${this.requests}`;
    this.send(JSON.stringify({ type: 'request', id, body }), id);
  }

  reply(request) {
    this.send(JSON.stringify({ type: 'reply', origin: request.origin, id: request.id, body: `from ${this.letter}: ${shorten(String(request.body ?? ''))}` }));
  }

  // `id` is set on a request: its reply is known by it. Where a message comes back to its sender, it is known by what it says.
  send(data, id) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(data);
    const bytes = typeof data === 'string' ? bytesOf(data).length : data.length;
    this.sent += 1;
    this.sentBytes += bytes;
    if (id || this.comesBack()) {
      this.awaited.push({ key: id ?? keyOf(data), at: performance.now() });
      if (this.awaited.length > AWAITED_MAX) this.awaited.shift();
    }
    this.line('out', data, bytes);
    this.changed();
  }

  comesBack() {
    return this.channel.pattern === 'echo' || (this.channel.pattern === 'pub-sub' && this.part('echo').checked);
  }

  take(data) {
    const now = performance.now();
    if (typeof data !== 'string') data = new Uint8Array(data);
    const text = typeof data === 'string' ? data : undefined;
    const bytes = text === undefined ? data.length : bytesOf(text).length;
    const json = this.kind.envelope && text !== undefined ? envelope(text) : undefined;
    this.received += 1;
    this.receivedBytes += bytes;
    if (!this.kind.envelope || json?.type === 'request') this.counted += 1;
    const trip = this.tripOf(json ? json.type === 'reply' && json.id : keyOf(data), now);
    const failed = json?.type === 'error';
    this.line(failed ? 'bad' : 'in', data, bytes, trip, json);
    if (json?.type === 'request' && this.part('auto').checked) this.reply(json);
    this.changed();
  }

  tripOf(key, now) {
    const at = this.awaited.findIndex((sent) => sent.key === key);
    if (at < 0) return undefined;
    const trip = now - this.awaited[at].at;
    // A request to many is answered by many, and each answer has its time.
    if (this.channel.pattern !== 'req-repl') this.awaited.splice(at, 1);
    this.trips.push(trip);
    if (this.trips.length > TRIPS_MAX) this.trips.shift();
    return trip;
  }

  line(way, data, bytes, trip, json) {
    const isText = typeof data === 'string';
    this.queue({ way, kind: isText ? 'text' : 'binary', bytes, trip, json, words: isText ? shorten(data) : showHex(data) });
  }

  note(way, words) {
    this.queue({ way, words });
  }

  queue(line) {
    line.at = new Date();
    this.pending.push(line);
    if (this.pending.length > LOG_LINES_MAX) this.pending.shift();
    this.changed();
  }

  changed() {
    this.settings.draw(this);
  }

  // Called once a frame at most, however many messages came in.
  draw() {
    this.part('sent').textContent = `${this.sent} · ${size(this.sentBytes)}`;
    this.part('received').textContent = `${this.received} · ${size(this.receivedBytes)}`;
    this.part('trip').textContent = this.trips.length ? `${millis(this.trips.at(-1))}, median ${millis(median(this.trips))}` : '–';
    if (!this.pending.length) return;
    const log = this.part('log');
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    this.list.append(...this.pending.splice(0).map((line) => this.entry(line)));
    while (this.list.childElementCount > LOG_LINES_MAX) this.list.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  }

  // What came from outside becomes text nodes, never markup.
  entry({ way, kind, bytes, trip, json, words, at }) {
    const item = document.createElement('li');
    item.className = way;
    const add = (name, text) => {
      const part = document.createElement('span');
      part.className = name;
      part.textContent = text;
      item.append(part, ' ');
    };
    add('time', at.toLocaleTimeString('en-GB') + '.' + String(at.getMilliseconds()).padStart(3, '0'));
    if (kind) {
      add('way', way === 'out' ? '↑ sent' : '↓ received');
      add('meta', `${kind} · ${size(bytes)}`);
    }
    if (trip !== undefined) add('meta trip-time', millis(trip));
    add('words', words);
    if (json?.type === 'request' && !this.part('auto').checked) {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'reply';
      button.textContent = 'Reply';
      button.onclick = () => { this.reply(json); button.disabled = true; };
      item.append(button);
    }
    return item;
  }
}

const keyOf = (data) => typeof data === 'string' ? `t${data}` : `b${data.length}:${showHex(data)}`;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

