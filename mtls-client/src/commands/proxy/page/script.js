const KINDS = {
  verified: "Verified",
  unverified: "Unverified",
  exempt: "Exempt",
  refused: "Refused",
  intercepted: "Intercepted",
  failed: "Failed",
  unused: "Unused",
  opening: "Opening",
};
const FILTERS = ["all", "verified", "unverified", "exempt", "refused", "intercepted", "failed"];
const PAUSE = 1000;

const connections = new Map();
const rows = new Map();
let version = 0;
let started = null;
let filter = "all";
let shown = PAGE;

// ---- formatting

function bytes(count) {
  if (count < 1000) return count + " B";
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return value.toFixed(value < 9.95 ? 1 : 0) + " " + units[unit];
}

function duration(seconds) {
  if (seconds < 60) return seconds.toFixed(seconds < 9.95 ? 1 : 0) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min " + Math.floor(seconds % 60) + " s";
  return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
}

function ago(unix) {
  const seconds = Math.max(0, Date.now() / 1000 - unix);
  if (seconds < 5) return "now";
  if (seconds < 60) return Math.floor(seconds) + " s ago";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min ago";
  if (seconds < 86400) return Math.floor(seconds / 3600) + " h ago";
  return Math.floor(seconds / 86400) + " d ago";
}

const isOpen = (connection) => typeof connection.stage === "string";

const ENDS = {
  closed: "closed",
  "client-reset": "reset by the program",
  "server-reset": "reset by the server",
  idle: "closed after the idle timeout",
  refused: "not relayed",
};
const STAGES = { opening: "opening", verifying: "verifying", relaying: "open" };
const PROTOCOLS = { "http-connect": "HTTP CONNECT", socks4: "SOCKS4", socks5: "SOCKS5", "plain-http": "plain HTTP" };
const INDEPENDENCE = {
  "different-interface": "two interfaces",
  proxied: "through a proxy",
  "same-interface-other-source": "one interface, two addresses",
  same: "none: the same path",
  unknown: "unknown",
};

function state(connection) {
  if (isOpen(connection)) return STAGES[connection.stage] || connection.stage;
  return ENDS[connection.stage.ended] || connection.stage.ended;
}

// ---- one row

function row(connection) {
  const item = element("li");
  const details = element("details");
  const summary = element("summary");
  const badge = element("span", "badge");
  const word = element("span");
  const who = element("span", "who");
  const host = element("span", "host");
  const [name, port] = split(connection.target);
  host.append(name, element("i", "", port));
  host.title = connection.target;
  const why = element("span", "why");
  who.append(host, why);
  const count = element("span", "bytes");
  const when = element("span", "when");
  summary.append(badge, who, count, when);
  details.append(summary);
  item.append(details);
  const made = { item, details, badge, word, why, count, when, body: null, kind: null };
  details.addEventListener("toggle", () => {
    const current = connections.get(connection.id);
    if (details.open && current) {
      unfold(made, current);
      history.replaceState(null, "", "#" + connection.id);
    }
  });
  return made;
}

function update(made, connection) {
  if (made.kind !== connection.kind) {
    made.kind = connection.kind;
    made.item.className = connection.kind;
    made.word.textContent = KINDS[connection.kind] || connection.kind;
    made.badge.replaceChildren(icon(connection.kind), made.word);
  }
  put(made.why, connection.headline);
  const { to_server: up, to_client: down } = connection.bytes;
  put(made.count, up + down ? "↑ " + bytes(up) + "  ↓ " + bytes(down) : "");
  tick(made, connection);
  if (made.details.open) unfold(made, connection);
}

function tick(made, connection) {
  const open = isOpen(connection) && connection.kind !== "opening";
  const text = open ? "open" : ago(connection.unix_time);
  if (made.when.textContent !== text) {
    made.when.replaceChildren(open ? element("span", "open", text) : text);
  }
}

function unfold(made, connection) {
  const body = element("div", "more");
  body.append(element("p", "", connection.explanation));
  if (connection.evidence.length) body.append(...evidence(connection));
  const verification = connection.verification;
  if (verification) {
    body.append(paths(verification.paths));
    const drawn = times(verification.times_ms);
    if (drawn) body.append(drawn);
  }
  body.append(facts(connection));
  if (made.body) made.body.replaceWith(body);
  else made.details.append(body);
  made.body = body;
}

function evidence(connection) {
  const links = element("p", "evidence");
  const labels = { json: "Evidence (JSON)", pem: "Certificates (PEM)" };
  for (const kind of connection.evidence) {
    const link = element("a", "", labels[kind]);
    link.href = "/evidence/" + connection.id + "." + kind;
    link.download = "";
    links.append(link);
  }
  const leaf = connection.presented && connection.presented.chain[0];
  if (!leaf) return [links];
  const box = element("div", "leaf");
  box.append(
    element("b", "", "Certificate received over a second connection"),
    "Subject " + (leaf.subject || "(unreadable)"),
    element("br"),
    "Issuer " + (leaf.issuer || "(unreadable)"),
    element("br"),
    "Public key sha256 ",
    element("code", "", leaf.spki_sha256 || "(unreadable)"),
  );
  return [links, box];
}

function paths(list) {
  const drawn = element("div", "paths");
  let side = 0;
  for (const path of list) {
    const line = element("div", "path");
    const sides = list.length > 2 ? "Side " + ++side : "Side";
    line.append(element("b", "", path.role === "primary" ? "Primary" : sides));
    const route = element("span", "route");
    route.append(element("span", "via", path.via || "unknown"));
    if (path.interface) route.append(element("span", "", path.interface));
    if (path.local) route.append(element("span", "", path.local));
    if (path.peer) route.append(element("i", "", "→"), element("span", "", path.peer));
    line.append(route);
    const result = path.role === "primary" ? "carries TLS" : path.result || "";
    const bad = ["wrong-value", "unknown-handshake", "downgrade"].includes(result);
    const tone = result === "verified" ? " good" : bad ? " bad" : "";
    line.append(element("span", "result" + tone, result + (path.reused ? ", kept open" : "")));
    drawn.append(line);
  }
  return drawn;
}

function times(ms) {
  const steps = [["connected", ms.connected], ["ServerHello", ms.tls], ["verdict", ms.verdict]];
  const known = steps.filter(([, at]) => at !== null && at !== undefined);
  if (known.length < 2) return null;
  const longest = Math.max(...known.map(([, at]) => at), 0.001);
  const drawn = element("div", "times");
  for (const [label, at] of known) {
    const line = element("div");
    const meter = element("meter");
    meter.max = longest;
    meter.value = at;
    line.append(element("span", "", label), meter, element("span", "", at.toFixed(1) + " ms"));
    drawn.append(line);
  }
  return drawn;
}

function facts(connection) {
  const verification = connection.verification || {};
  const list = element("dl", "facts");
  const rule = connection.rule ? " (" + connection.rule + ")" : "";
  const known = [
    ["Policy", connection.exempt ? "exempt" + rule : connection.policy + rule],
    ["Requested by", PROTOCOLS[connection.protocol] + " from " + connection.client],
    ["Server name in the ClientHello", connection.server_name],
    ["Binding", verification.binding],
    ["Independence of the paths", INDEPENDENCE[verification.independence]],
    ["State", state(connection) + ", " + duration(connection.lasted)],
    ["Sent and received", bytes(connection.bytes.to_server) + ", " + bytes(connection.bytes.to_client)],
    ["Started", new Date(connection.unix_time * 1000).toLocaleString()],
    ["Handshake", connection.association],
    ["Message", connection.error],
  ];
  for (const [label, value] of known) {
    if (!value) continue;
    const pair = element("div");
    pair.append(element("dt", "", label), element("dd", "", value));
    list.append(pair);
  }
  return list;
}

// ---- the list

function matches(connection) {
  const kind = filter === "all" || connection.kind === filter;
  const search = byId("search").value.trim().toLowerCase();
  const name = connection.target + " " + (connection.server_name || "");
  return kind && (!search || name.toLowerCase().includes(search));
}

function render() {
  const newest = [...connections.values()].sort((a, b) => b.id - a.id).filter(matches);
  const visible = newest.slice(0, shown);
  const list = byId("list");
  const wanted = new Set(visible.map((connection) => connection.id));
  for (const [id, made] of rows) {
    if (!wanted.has(id)) {
      made.item.remove();
      rows.delete(id);
    }
  }
  let place = list.firstChild;
  for (const connection of visible) {
    let made = rows.get(connection.id);
    if (!made) {
      made = row(connection);
      rows.set(connection.id, made);
      update(made, connection);
    }
    if (made.item === place) place = place.nextSibling;
    else list.insertBefore(made.item, place);
  }
  const hidden = newest.length - visible.length;
  byId("more").hidden = hidden === 0;
  put(byId("more"), "Show older connections (" + hidden + ")");
  byId("empty").hidden = connections.size > 0;
  byId("nothing").hidden = newest.length > 0 || connections.size === 0;
}

function alarm() {
  const intercepted = [...connections.values()].filter((c) => c.kind === "intercepted");
  byId("alarm").hidden = intercepted.length === 0;
  if (intercepted.length === 0) return;
  const hosts = [...new Set(intercepted.map((c) => split(c.target)[0]))];
  const named = hosts.slice(0, 3).join(", ") + (hosts.length > 3 ? " and others" : "");
  const passed = intercepted.some((c) => c.bytes.to_client > 0 && c.policy === "observe");
  const done = passed
    ? "The policy observe accepted it: do not trust the data received."
    : "Only the ClientHello was sent.";
  const count = intercepted.length === 1 ? "One connection" : intercepted.length + " connections";
  put(byId("alarm").querySelector("p"), count + " to " + named + ": an attacker is on one of the paths. " + done);
}

function filters(totals) {
  const sum = Object.values(totals).reduce((a, b) => a + b, 0);
  const group = byId("filters");
  if (!group.firstChild) {
    for (const name of FILTERS) {
      const button = element("button");
      button.type = "button";
      button.dataset.filter = name;
      if (name !== "all") button.append(icon(name));
      button.append(element("span", "", name === "all" ? "All" : KINDS[name]), element("b", "", "0"));
      button.addEventListener("click", () => choose(name));
      group.append(button);
    }
    choose("all");
  }
  for (const button of group.children) {
    const name = button.dataset.filter;
    const count = name === "all" ? sum : totals[name];
    put(button.querySelector("b"), String(count));
    button.className = (name === "all" ? "" : name) + (count ? "" : " zero");
  }
}

function choose(name) {
  filter = name;
  shown = PAGE;
  for (const button of byId("filters").children) {
    button.setAttribute("aria-pressed", String(button.dataset.filter === name));
  }
  render();
}

function about(proxy, open) {
  const line = byId("about");
  const parts = [
    proxy.listen.join(", "),
    "policy " + proxy.policy,
    "primary " + proxy.primary,
    "side " + proxy.sides.join(", "),
  ];
  if (proxy.rules.length) parts.push(proxy.rules.length + (proxy.rules.length > 1 ? " rules" : " rule"));
  if (open) parts.push(open + " open");
  put(line, parts.join(" · "));
  line.title = proxy.rules.join("\n");
  put(byId("version"), "mtls-client " + proxy.version);
  const address = proxy.listen[0];
  const fill = {
    curl: "curl -x http://" + address + " https://example.org/",
    env: "export HTTPS_PROXY=http://" + address,
    chromium: "chromium --proxy-server=" + address,
    firefox: address,
  };
  for (const code of document.querySelectorAll("[data-fill]")) put(code, fill[code.dataset.fill]);
}

async function poll() {
  const response = await fetch("/connections?since=" + version, { cache: "no-store" });
  if (!response.ok) throw new Error(String(response.status));
  const changes = await response.json();
  if (changes.proxy.started !== started) {
    const restarted = started !== null;
    started = changes.proxy.started;
    connections.clear();
    version = 0;
    if (restarted) return poll();
  }
  version = changes.version;
  const kept = new Set(changes.ids);
  for (const id of connections.keys()) if (!kept.has(id)) connections.delete(id);
  for (const connection of changes.connections) {
    connections.set(connection.id, connection);
    const made = rows.get(connection.id);
    if (made) update(made, connection);
  }
  about(changes.proxy, changes.open);
  filters(changes.totals);
  alarm();
  render();
  reveal();
  live("on", "live");
}

// `#ID` opens one connection, as long as it is in the history.
let wanted = location.hash.slice(1);

function reveal() {
  const made = wanted && rows.get(Number(wanted));
  if (!made) return;
  wanted = "";
  made.details.open = true;
  made.item.scrollIntoView({ block: "nearest" });
}

async function run() {
  for (;;) {
    if (!document.hidden) {
      try {
        await poll();
      } catch (error) {
        live("gone", "the proxy does not respond");
      }
      for (const [id, made] of rows) tick(made, connections.get(id));
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

byId("search").addEventListener("input", () => {
  shown = PAGE;
  render();
});
byId("more").addEventListener("click", () => {
  shown += PAGE;
  render();
});
byId("alarm").querySelector("button").addEventListener("click", () => {
  choose("intercepted");
  const first = byId("list").querySelector("details");
  if (first) first.open = true;
});
run();
