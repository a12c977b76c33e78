// The worst first.
const KINDS = {
  intercepted: "Intercepted",
  suspicious: "Suspicious",
  error: "Error",
  unverified: "Unverified",
  verified: "Verified",
  pending: "Not yet",
};
const ORDER = Object.keys(KINDS);
const FILTERS = ["all", "verified", "unverified", "error", "suspicious", "intercepted"];
const PAUSE = 3000;
const EXPIRY_WARNING = 14 * 86400;

const rows = new Map();
let data = { targets: [], now: 0, history: 1 };
let filter = "all";
let shown = PAGE;
let named = decodeURIComponent(location.hash.slice(1));

// ---- formatting

function duration(seconds) {
  if (seconds < 60) return Math.floor(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h";
  return Math.floor(seconds / 86400) + " d";
}

// The clock of the program counts, not that of the browser.
const ago = (unix) => duration(Math.max(0, data.now - unix)) + " ago";
const date = (unix) => new Date(unix * 1000).toLocaleString();
const milliseconds = (seconds) => (seconds == null ? "–" : (seconds * 1000).toFixed(1) + " ms");
const kindOf = (target) => (target.current ? target.current.verdict : "pending");

function headline(target) {
  const current = target.current;
  if (!current) return "the first check is pending";
  const since = " for " + duration(Math.max(0, data.now - target.since));
  if (current.verdict !== "verified") return (current.reason || current.verdict) + since;
  const proof = current.method === "resumption"
    ? "same ticket domain on both paths, by resumption (weaker),"
    : "same handshake on both paths";
  return proof + since;
}

// ---- one row

// Runs of one verdict, the newest at the right.
function draw(strip, target) {
  const total = target.history.reduce((sum, run) => sum + run[1], 0);
  let at = data.history - total;
  strip.setAttribute("viewBox", "0 0 " + data.history + " 1");
  strip.replaceChildren(...target.history.map(([kind, count]) => {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", kind);
    rect.setAttribute("x", at);
    rect.setAttribute("width", count);
    rect.setAttribute("height", 1);
    at += count;
    return rect;
  }));
  const words = target.history.map(([kind, count]) => count + " " + kind).join(", then ");
  strip.setAttribute("aria-label", "History: " + (words || "none"));
}

function row(target) {
  const item = element("li");
  const details = element("details");
  const summary = element("summary");
  const badge = element("span", "badge");
  const word = element("span");
  const who = element("span", "who");
  const host = element("span", "host");
  const [name, port] = split(target.target);
  host.append(name, element("i", "", port));
  host.title = target.target;
  const why = element("span", "why");
  who.append(host, why);
  const strip = document.createElementNS(SVG, "svg");
  strip.setAttribute("class", "strip");
  strip.setAttribute("role", "img");
  strip.setAttribute("preserveAspectRatio", "none");
  const when = element("span", "when");
  summary.append(badge, who, strip, when);
  const body = element("div", "more");
  details.append(summary, body);
  item.append(details);
  const made = { item, details, badge, word, why, strip, when, body, kind: null, checks: null };
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    unfold(made, data.targets.find((one) => one.target === target.target));
    history.replaceState(null, "", "#" + target.target);
  });
  return made;
}

function update(made, target) {
  const kind = kindOf(target);
  if (made.kind !== kind) {
    made.kind = kind;
    made.item.className = kind;
    made.word.textContent = KINDS[kind] || kind;
    made.badge.replaceChildren(icon(kind), made.word);
  }
  put(made.why, headline(target));
  put(made.when, target.current ? ago(target.current.unix_time) : "");
  if (made.checks === target.checks) return;
  made.checks = target.checks;
  draw(made.strip, target);
  if (made.details.open) unfold(made, target);
}

function fact(list, term, value, className) {
  const pair = element("div");
  pair.append(element("dt", "", term), element("dd", className || "", value));
  list.append(pair);
}

function unfold(made, target) {
  const current = target && target.current;
  made.body.replaceChildren();
  if (!current) return;
  if (current.message) made.body.append(element("p", "note", current.message));
  const changes = element("ol", "changes");
  for (const [kind, count, first, last] of target.history.slice(-8).reverse()) {
    const line = element("li", kind);
    const times = count === 1 ? date(first) : date(first) + " – " + date(last);
    line.append(element("i"), element("span", "", KINDS[kind] + ", " + times + " (" + count + ")"));
    changes.append(line);
  }
  made.body.append(changes);
  const facts = element("dl", "facts");
  fact(facts, "Last check", date(current.unix_time));
  fact(facts, "Verdict since", date(target.since));
  fact(facts, "Checks", String(target.checks));
  fact(facts, "Method", current.method || "–");
  fact(facts, "Reason", current.reason || "–");
  fact(facts, "Connected", milliseconds(current.connected));
  fact(facts, "TLS complete", milliseconds(current.tls));
  fact(facts, "Verdict", milliseconds(current.decided));
  if (current.certificate_expiry != null) {
    const left = current.certificate_expiry - data.now;
    const text = date(current.certificate_expiry) + (left < 0 ? " (expired)" : " (" + duration(left) + ")");
    fact(facts, "Certificate expires", text, left < EXPIRY_WARNING ? "soon" : "");
  }
  made.body.append(facts);
}

// ---- the list

function matches(target) {
  const text = byId("search").value.trim().toLowerCase();
  return (filter === "all" || kindOf(target) === filter) && target.target.includes(text);
}

function show() {
  const found = data.targets.filter(matches);
  found.sort((one, other) => ORDER.indexOf(kindOf(one)) - ORDER.indexOf(kindOf(other)));
  const visible = found.slice(0, shown);
  const items = visible.map((target) => {
    if (!rows.has(target.target)) rows.set(target.target, row(target));
    const made = rows.get(target.target);
    update(made, target);
    return made.item;
  });
  const list = byId("list");
  const same = items.length === list.children.length && items.every((item, at) => list.children[at] === item);
  if (!same) list.replaceChildren(...items);
  byId("nothing").hidden = found.length > 0;
  const more = byId("more");
  more.hidden = found.length <= shown;
  put(more, "Show " + (found.length - shown) + " more");
}

function count() {
  const counts = { all: data.targets.length };
  for (const target of data.targets) counts[kindOf(target)] = (counts[kindOf(target)] || 0) + 1;
  for (const button of byId("filters").children) {
    const number = counts[button.dataset.kind] || 0;
    put(button.lastChild, String(number));
    button.className = button.dataset.kind + (number ? "" : " zero");
    button.setAttribute("aria-pressed", String(filter === button.dataset.kind));
  }
  const bad = data.targets.filter((target) => kindOf(target) === "intercepted");
  byId("alarm").hidden = bad.length === 0;
  put(byId("alarm").querySelector("p"), bad.slice(0, 5).map((target) => target.target).join(", ") +
    (bad.length > 5 ? " and " + (bad.length - 5) + " more" : ""));
  document.title = (bad.length ? "(" + bad.length + ") " : "") + "Multipath TLS watch";
}

function select(kind) {
  filter = kind;
  shown = PAGE;
  count();
  show();
}

for (const kind of FILTERS) {
  const button = element("button");
  button.type = "button";
  button.dataset.kind = kind;
  if (kind !== "all") button.append(icon(kind));
  button.append(element("span", "", kind === "all" ? "All" : KINDS[kind]), element("b", "", "0"));
  button.addEventListener("click", () => select(kind));
  byId("filters").append(button);
}
byId("search").addEventListener("input", show);
byId("more").addEventListener("click", () => {
  shown += PAGE;
  show();
});
byId("alarm").querySelector("button").addEventListener("click", () => select("intercepted"));

// A link to a target opens it, once.
function openNamed() {
  if (!named) return;
  const made = rows.get(named);
  if (made) made.details.open = true;
  named = "";
}

async function refresh() {
  try {
    const response = await fetch("/targets", { headers: { accept: "application/json" } });
    if (!response.ok) throw new Error(String(response.status));
    data = await response.json();
    put(byId("about"), data.targets.length + " targets, each checked about every " + duration(data.every_seconds) +
      "; running for " + duration(Math.max(0, data.now - data.started)));
    put(byId("version"), "mtls-client " + data.version);
    count();
    show();
    live("on", "live");
    openNamed();
  } catch {
    live("gone", "not running");
  }
  setTimeout(refresh, PAUSE);
}

refresh();
