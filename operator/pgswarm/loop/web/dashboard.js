// The dashboard's page: reads one JSON object a line from /feed and draws it. Everything that is shown as text is put
// in as text, never as markup. Nothing is loaded from anywhere else, and nothing is asked for without the token.
"use strict";

const KEPT = 900; // samples, as the operator keeps them
const SILENT = 5000; // milliseconds without a line after which what is shown counts as old
const RETRY = [300, 600, 1200, 2500, 5000]; // milliseconds between two tries to connect

const $ = (id) => document.getElementById(id);
let state = null, samples = [], chosen = null, heard = 0, tries = 0, reader = null, lostSince = 0;

// ---- small tools --------------------------------------------------------------------------------------------------

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  return filled(node, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  return filled(node, attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function token() { return sessionStorage.getItem("pgswarm-token") || ""; }

function bytes(count) {
  if (count === null || count === undefined) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function clock(seconds) {
  if (!seconds) return "time not kept";
  const when = new Date(seconds * 1000);
  const day = when.toDateString() === new Date().toDateString() ? "" : `${when.toLocaleDateString()} `;
  return day + when.toLocaleTimeString();
}

// ---- connection ---------------------------------------------------------------------------------------------------

async function call(path, body) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { Authorization: `Bearer ${token()}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return answer;
}

async function listen() {
  for (;;) {
    try {
      const answer = await call("/feed");
      if (answer.status === 401) { sessionStorage.removeItem("pgswarm-token"); return login("this is not its token"); }
      if (!answer.ok) throw new Error((await answer.json()).reason);
      await read(answer.body.getReader());
    } catch (problem) {
      lost(problem);
    }
    await new Promise((done) => setTimeout(done, RETRY[Math.min(tries, RETRY.length - 1)]));
    tries += 1;
  }
}

async function read(from) {
  const decoder = new TextDecoder();
  let rest = "";
  samples = []; // the first line brings all that is kept
  reader = from;
  for (;;) {
    const { done, value } = await from.read();
    if (done) throw new Error("the operator has ended the connection");
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) take(JSON.parse(line));
  }
}

function take(line) {
  heard = Date.now(); tries = 0; lostSince = 0;
  if (line.state) state = line.state;
  samples = samples.concat(line.samples).slice(-KEPT);
  draw();
}

function lost(problem) {
  if (!lostSince) lostSince = Date.now();
  $("link").className = "lost";
  $("link").textContent = `no connection for ${Math.round((Date.now() - lostSince) / 1000)} s (${problem.message}); trying again`;
  $("board").classList.add("stale");
}

function login(why = "") {
  $("board").hidden = true;
  $("login").hidden = false;
  $("login-why").textContent = why;
  $("link").textContent = "not connected";
  $("token").focus();
}

setInterval(() => {
  if (heard && Date.now() - heard > SILENT && reader) { reader.cancel().catch(() => {}); lost(new Error("nothing is heard")); }
}, 1000);

// ---- drawing ------------------------------------------------------------------------------------------------------

function draw() {
  $("login").hidden = true; $("board").hidden = false; $("board").classList.remove("stale");
  $("link").className = "";
  $("link").textContent = `live from ${state.node}`;
  const names = state.clusters.map((one) => one.cluster);
  if (!names.includes(chosen)) chosen = names[0] || null;
  $("clusters").replaceChildren(...names.map((name) => el("button", {
    type: "button", "aria-current": String(name === chosen), onclick: () => { chosen = name; draw(); },
  }, name)));
  const cluster = state.clusters.find((one) => one.cluster === chosen);
  if (!cluster) {
    $("headline").className = state.errors.length ? "is-bad" : "";
    $("headline").replaceChildren(el("p", { class: "big" }, "no cluster yet"), ...state.errors.map((text) => el("p", { class: "bad" }, text)));
    for (const id of ["topology", "lag", "behind", "waits", "why", "plan", "members", "strip", "events"]) $(id).replaceChildren();
    return;
  }
  document.title = `${cluster.healthy ? "" : "! "}${cluster.cluster} – pgswarm`;
  headline(cluster);
  topology(cluster);
  const column = (index) => (one) => Object.fromEntries(Object.entries(one.points[cluster.cluster] || {}).map(([name, point]) => [name, point[index]]));
  plot("lag", cluster, column(0), (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} s`, 1);
  plot("behind", cluster, column(1), bytes, 65536);
  plot("waits", cluster, (one) => (cluster.cluster in one.waits ? { commit: 1000 * one.waits[cluster.cluster] } : {}), (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`, 1);
  why(cluster); plan(cluster); members(cluster); events(cluster);
}

function headline(cluster) {
  const serves = cluster.members.some((one) => one.name === cluster.primary && one.state === "serving");
  $("headline").className = cluster.healthy ? "is-good" : serves ? "is-wait" : "is-bad";
  $("headline").replaceChildren(
    el("p", { class: "big" }, cluster.summary),
    el("p", {}, `term ${cluster.term ?? "–"} · ${cluster.durability || "nothing is claimed yet"}`),
    el("p", { class: "dim" }, cluster.last_change),
    ...[cluster.wish, cluster.planned, cluster.paused, ...cluster.maintenance, ...cluster.fences, ...[cluster.orphaned].flat()].filter(Boolean).map((text) => el("p", { class: "wait" }, text)),
    ...cluster.errors.map((text) => el("p", { class: "bad" }, text)),
    ...cluster.losses.map((text) => el("p", { class: "bad" }, text)),
  );
}

function topology(cluster) {
  const nodes = [...new Set([...state.nodes.map((one) => one.name), ...cluster.members.map((one) => one.node).filter(Boolean)])];
  const width = 230, gap = 26, top = 96;
  const rows = Math.max(1, ...nodes.map((name) => cluster.members.filter((one) => one.node === name).length));
  const all = Math.max(1, nodes.length) * (width + gap) - gap, height = top + 46 + rows * 78 + 30;
  const places = {}, parts = [];
  nodes.forEach((name, column) => {
    const x = column * (width + gap), known = state.nodes.find((one) => one.name === name);
    const away = !known || known.state !== "ready" || known.availability !== "active";
    const words = known ? [known.role, known.leads ? "Raft leader" : "", known.state !== "ready" ? known.state : "", known.availability !== "active" ? known.availability : ""] : ["not in the Swarm"];
    parts.push(svg("rect", { x, y: top, width, height: height - top - 34, rx: 8, class: away ? "box down" : "box" }),
      svg("text", { x: x + 12, y: top + 21 }, name), svg("text", { x: x + 12, y: top + 37, class: "dim" }, words.filter(Boolean).join(", ")));
    cluster.members.filter((one) => one.node === name).forEach((one, row) => {
      const y = top + 46 + row * 78;
      places[one.name] = { column, x: x + width / 2, y, left: x + 10, right: x + width - 10, middle: y + 32, low: y + 64 };
      const kind = one.name === cluster.primary ? "member primary" : one.problem ? "member bad" : one.counted ? "member counted" : "member";
      parts.push(svg("g", {}, svg("title", {}, one.problem || `${one.role}, ${one.state}`),
        svg("rect", { x: x + 10, y, width: width - 20, height: 64, rx: 6, class: kind }),
        svg("text", { x: x + 20, y: y + 20, "font-weight": 600 }, one.name),
        svg("text", { x: x + 20, y: y + 38, class: "dim" }, `${one.role}${one.counted ? ", counted" : ""}`),
        svg("text", { x: x + 20, y: y + 54, class: "dim" }, one.state)));
    });
  });
  const primary = places[cluster.primary], wires = [];
  const serving = cluster.members.some((one) => one.name === cluster.primary && one.state === "serving");
  const routed = cluster.routers.filter((one) => one.primary === cluster.primary && one.state === "running").length;
  const middle = Math.min(Math.max(primary ? primary.x : all / 2, 130), all - 130);
  parts.push(svg("rect", { x: middle - 130, y: 4, width: 260, height: 48, rx: 8, class: "box" }),
    svg("text", { x: middle, y: 24, "text-anchor": "middle" }, `${cluster.routers.length} router${cluster.routers.length === 1 ? "" : "s"}`),
    svg("text", { x: middle, y: 42, "text-anchor": "middle", class: "dim" },
      routed ? `${routed} send writers to ${cluster.primary}` : "writers are held"));
  if (primary) {
    wires.push(svg("path", { d: `M ${primary.x} 52 L ${primary.x} ${primary.y}`, class: serving && routed ? "wire good" : "wire bad", "marker-end": "url(#head)" }));
    for (const one of cluster.members) {
      const to = places[one.name];
      if (!to || one.name === cluster.primary) continue;
      const right = to.x > primary.x, same = to.x === primary.x;
      const from = same ? primary.right : right ? primary.right : primary.left, end = same ? to.right : right ? to.left : to.right;
      const far = Math.abs(to.column - primary.column) > 1, depth = height - 6; // over another node's box nothing could be read
      const d = far ? `M ${primary.x} ${primary.low} C ${primary.x} ${depth} ${to.x} ${depth} ${to.x} ${to.low}` : same ? `M ${from} ${primary.middle} C ${from + 30} ${primary.middle} ${end + 30} ${to.middle} ${end} ${to.middle}` : `M ${from} ${primary.middle} L ${end} ${to.middle}`;
      wires.push(svg("path", { d, class: one.state === "streaming" ? "wire good" : "wire bad", "marker-end": "url(#head)" }));
    }
  }
  $("topology").replaceChildren(el("div", { class: "scroll" }, svg("svg", { viewBox: `-2 0 ${all + 4} ${height}`, role: "img", "aria-label": `topology of ${cluster.cluster}` },
    svg("defs", {}, svg("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M 0 0 L 8 4 L 0 8 z", fill: "currentColor" }))),
    ...parts, ...wires)));
}

function plot(id, cluster, valuesOf, words, least) {
  const width = 560, height = 170, left = 58, bottom = 24, top = 8;
  const taken = samples.map((one) => ({ at: one.at, values: valuesOf(one) }));
  const names = [...new Set(taken.flatMap((one) => Object.keys(one.values)))].sort();
  if (taken.length < 2 || !names.length) { $(id).replaceChildren(el("p", { class: "dim" }, "nothing measured yet")); return; }
  const first = taken[0].at, span = Math.max(10, taken[taken.length - 1].at - first);
  const most = Math.max(least, ...taken.flatMap((one) => Object.values(one.values)).filter((value) => value !== null));
  const x = (at) => left + (at - first) / span * (width - left - 6), y = (value) => height - bottom - value / most * (height - bottom - top);
  const lines = names.map((name, number) => {
    let d = "", pen = false;
    for (const one of taken) {
      const value = one.values[name] ?? null; // not known is a gap, and no zero
      if (value === null) { pen = false; continue; }
      d += pen ? `L${x(one.at).toFixed(1)} ${y(value).toFixed(1)} ` : `M${x(one.at).toFixed(1)} ${y(value).toFixed(1)} h1 `;
      pen = true;
    }
    return svg("path", { d, class: `series s${number % 6}` });
  });
  const marks = cluster.history.filter((event) => event.at && event.at > first && event.kind !== "refused").map((event) =>
    svg("g", {}, svg("title", {}, `${event.kind}: ${event.primary}`), svg("line", { x1: x(event.at), x2: x(event.at), y1: top, y2: height - bottom, class: "mark" })));
  const last = taken[taken.length - 1].values;
  $(id).replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": id },
      svg("line", { x1: left, x2: width - 6, y1: height - bottom, y2: height - bottom, class: "axis" }),
      svg("line", { x1: left, x2: width - 6, y1: top, y2: top, class: "axis" }),
      svg("text", { x: left - 6, y: top + 10, "text-anchor": "end", class: "dim" }, words(most)),
      svg("text", { x: left - 6, y: height - bottom, "text-anchor": "end", class: "dim" }, words(0)),
      svg("text", { x: left, y: height - 6, class: "dim" }, clock(first)),
      svg("text", { x: width - 6, y: height - 6, "text-anchor": "end", class: "dim" }, clock(first + span)),
      ...marks, ...lines),
    el("p", { class: "legend" }, ...names.map((name, number) => el("span", {}, el("i", { class: `s${number % 6}` }), `${name} `,
      el("span", { class: "dim" }, (last[name] ?? null) === null ? "not known" : words(last[name]))))));
}

function why(cluster) {
  const said = cluster.explanation;
  const rows = [["copies", said.claim], ["commits", said.commits], ["failover", said.failover], ["if lost", said.if_lost],
    ...said.candidates.map((one) => [one.member, one.why])].filter(([, text]) => text);
  $("why").replaceChildren(el("dl", {}, ...rows.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])));
}

function plan(cluster) {
  const rows = [...cluster.steps.map((one) => el("li", {}, `${one.step}: `, el("span", { class: "dim" }, one.reason), one.state ? el("span", { class: "bad" }, ` ${one.state}`) : "")),
    ...cluster.waits.map((text) => el("li", { class: "wait" }, text))];
  $("plan").replaceChildren(rows.length ? el("ul", {}, ...rows) : el("p", { class: "good" }, "nothing: at rest"));
}

function members(cluster) {
  const may = state.may.includes("switchover");
  const head = ["member", "node", "role", "state", "log", "behind", "", may ? "" : null].filter((one) => one !== null);
  const rows = cluster.members.map((one) => {
    const share = /(\d+) %/.exec(one.state);
    const notes = [one.problem, ...one.kept, one.pending_restart.length ? `waits for a restart: ${one.pending_restart.join(", ")}` : ""].filter(Boolean);
    const able = cluster.explanation.candidates.some((each) => each.member === one.name && each.can) && one.name !== cluster.primary;
    return el("tr", {}, el("td", {}, el("b", {}, one.name)), el("td", {}, one.node), el("td", {}, one.role),
      el("td", {}, share ? el("progress", { max: 100, value: share[1] }) : "", share ? " " : "", one.state),
      el("td", {}, one.position), el("td", {}, one.lag === null ? "" : `${one.lag.toFixed(1)} s`),
      el("td", { class: one.problem ? "bad" : "dim" }, notes.join("; ")),
      ...(may ? [el("td", {}, able ? el("button", { type: "button", onclick: () => propose(cluster.cluster, one.name) }, "make primary") : "")] : []));
  });
  const routers = cluster.routers.map((one) => el("tr", {}, el("td", {}, one.name), el("td", {}, ""), el("td", {}, "router"), el("td", {}, one.state),
    el("td", {}, one.primary ? `writers to ${one.primary}` : "writers are held"), el("td", {}, ""), el("td", { class: one.problem ? "bad" : "dim" }, one.problem || `${one.sessions} sessions`), ...(may ? [el("td")] : [])));
  $("members").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...head.map((text) => el("th", {}, text)))), el("tbody", {}, ...rows, ...routers)));
}

function events(cluster) {
  const known = [...cluster.history].reverse();
  $("events").replaceChildren(...known.slice(0, 50).map((event) => el("li", {}, el("span", { class: "dim" }, clock(event.at)),
    el("span", {}, el("b", { class: event.lost ? "bad" : event.kind === "new primary" ? "wait" : "" }, `${event.kind}${event.kind === "new primary" ? `: ${event.primary}` : ""}`),
      ` term ${event.term}. `, el("span", { class: "dim" }, event.text), event.lost ? el("span", { class: "bad" }, ` ${event.lost}`) : ""))));
  const timed = cluster.history.filter((event) => event.at);
  if (timed.length < 2) { $("strip").replaceChildren(); return; }
  const width = 1000, first = timed[0].at, last = Math.max(Date.now() / 1000, first + 1), x = (at) => 10 + (at - first) / (last - first) * (width - 20);
  const reigns = timed.filter((event) => ["began", "new primary"].includes(event.kind)), names = [...new Set(reigns.map((event) => event.primary))].sort();
  $("strip").replaceChildren(svg("svg", { viewBox: `0 0 ${width} 44`, role: "img", "aria-label": "who was primary" },
    ...reigns.map((event, index) => {
      const from = x(event.at), to = index + 1 < reigns.length ? x(reigns[index + 1].at) : width - 10;
      return svg("g", {}, svg("title", {}, `${event.primary}, term ${event.term}, ${clock(event.at)}`),
        svg("line", { x1: from, x2: to, y1: 14, y2: 14, class: `s${names.indexOf(event.primary) % 6}`, "stroke-width": 8 }),
        to - from > 60 ? svg("text", { x: from + 2, y: 36, class: "dim" }, event.primary) : "");
    })));
}

// ---- switchover ---------------------------------------------------------------------------------------------------

async function propose(cluster, to) {
  $("confirm-title").textContent = `Make ${to} primary of ${cluster}?`;
  $("confirm-lines").replaceChildren(); $("confirm-why").textContent = "";
  $("confirm-yes").hidden = false; $("confirm-yes").disabled = true; $("confirm-no").textContent = "No";
  $("confirm").showModal();
  try {
    const said = await (await call("/propose", { cluster, to })).json();
    $("confirm-lines").replaceChildren(...(said.lines || []).map((line) => el("li", {}, line)));
    $("confirm-why").textContent = said.refusal || said.reason || "";
    $("confirm-yes").disabled = Boolean(said.refusal || said.reason);
    $("confirm-yes").onclick = () => switchover(cluster, to);
  } catch (problem) { $("confirm-why").textContent = problem.message; }
}

async function switchover(cluster, to) {
  $("confirm-yes").disabled = true;
  $("confirm-why").textContent = "under way …";
  try {
    const said = await (await call("/switchover", { cluster, to })).json();
    $("confirm-why").textContent = said.text || said.reason;
  } catch (problem) { $("confirm-why").textContent = `${problem.message}; look at the events before you ask again`; }
  $("confirm-yes").hidden = true; $("confirm-no").textContent = "Close";
}

$("confirm-no").addEventListener("click", () => $("confirm").close());
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("pgswarm-token", $("token").value.trim());
  $("token").value = ""; $("login-why").textContent = "asking …";
  tries = 0; listen();
});
if (location.hash.startsWith("#token=")) { // a link with the token in it: kept by this browser, and taken out of the bar
  sessionStorage.setItem("pgswarm-token", decodeURIComponent(location.hash.slice(7)));
  history.replaceState(null, "", location.pathname);
}
if (token()) listen(); else login();
