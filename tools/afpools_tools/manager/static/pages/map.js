// Map: a picture of which hosts are in which pools, and of how busy each pool was.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { read } from "../api.js";
import { UsageChart } from "../chart.js";
import { number, plural, stateWord } from "../format.js";
import { grouped, pairs } from "../overlap.js";
import { hosts, loaded, membership, nothing, poolByName, pools } from "../store.js";
import { Choice, Pending, Search, Swatch, VirtualList, useAnswer } from "../ui.js";

export function MapPage({ argument }) {
  const usage = argument === "usage";
  return html`<section class="page">
    <header>
      <h2>Map</h2>
      <${Choice} label="Picture" value=${usage ? "usage" : "membership"} options=${[["membership", "Membership"], ["usage", "Use over time"]]}
        onChange=${(value) => (location.hash = `#/map/${value === "usage" ? "usage" : ""}`)} />
    </header>
    ${usage ? html`<${UsagePage} />` : html`<${Membership} />`}
  </section>`;
}

// --- membership ------------------------------------------------------------------------------------------------------

function Membership() {
  const [order, setOrder] = useState("pools");
  const [first, setFirst] = useState("");
  const columns = useMemo(
    () => (order === "pools" ? grouped(hosts.value, pools.value, first) : hosts.value.filter((host) => host.pools.length)),
    [membership.value, order, first, hosts.value.length],
  );
  const shared = useMemo(() => pairs(hosts.value, first), [membership.value, first]);
  const lonely = hosts.value.length - columns.length;
  return html`<div class="map-page">
    <div class="map-box">
      <div class="filters">
        <${Choice} label="Order of hosts" value=${order} onChange=${setOrder} options=${[["pools", "By pools"], ["name", "By name"]]} />
        <label class="pool-filter"><span class="muted">First</span>
          <select value=${first} aria-label="Pool whose hosts come first" disabled=${order !== "pools"} onChange=${(event) => setFirst(event.target.value)}>
            <option value="">any pool</option>
            ${first && !poolByName.value.has(first) && html`<option value=${first}>${first}</option>`}
            ${pools.value.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select></label>
        <span class="muted">${loaded.value && `${plural(columns.length, "host")} across, ${plural(pools.value.length, "pool")} down${
          lonely ? `; ${plural(lonely, "host")} in no pool` : ""}`}</span>
      </div>
      <${Picture} columns=${columns} rows=${pools.value} first=${first}
        onPick=${(name) => { setOrder("pools"); setFirst(name === first ? "" : name); }} />
    </div>
    <aside class="targets" aria-label="Overlaps">
      <header><h2>${first ? `Overlaps of ${first}` : "Overlaps"}</h2>
        ${first && html`<button class="copy" onClick=${() => setFirst("")}>All</button>`}</header>
      <${VirtualList} items=${shared} rowRem=${first ? 2.25 : 3.2} role="list" aria-label="Pools that share hosts"
        empty=${nothing(first ? `${first} shares no host with another pool.` : "No pools share hosts.")}
        row=${([one, other, count], _index, style) => html`<div key=${`${one}\n${other}`} role="listitem" class="row pair ${first ? "one" : ""}" style=${style}>
          ${!first && html`<span class="cut" title=${one}>${one}</span>`}<span class="cut" title=${other}>${!first && html`<span class="muted">and </span>`}${other}</span>
          <span class="muted count" title="${plural(count, "host")} in both">${number(count)}</span>
        </div>`} />
    </aside>
  </div>`;
}

const ROW = 1.35; // rem
const LABELS = [7, 15]; // rem, the narrowest and the widest column of names

/** The picture itself. Only the visible part is drawn, however large it is. */
function Picture({ columns, rows, first, onPick }) {
  const box = useRef(null);
  const canvas = useRef(null);
  const [size, setSize] = useState({ width: 0, height: 0, rem: 13 });
  const [pointed, setPointed] = useState(null);
  const row = Math.round(ROW * size.rem);
  const label = useMemo(() => {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = font(size.rem);
    const longest = Math.max(0, ...rows.map(({ name }) => pen.measureText(name).width));
    return Math.round(Math.max(LABELS[0] * size.rem, Math.min(LABELS[1] * size.rem, longest + 2.2 * size.rem)));
  }, [rows, size.rem]);
  // At least wide enough to be seen, else as wide as possible.
  const cell = Math.min(size.rem * 1.4, Math.max(2, (size.width - label) / Math.max(1, columns.length)));

  useLayoutEffect(() => {
    const measure = () => setSize({
      width: box.current.clientWidth, height: box.current.clientHeight,
      rem: parseFloat(getComputedStyle(document.documentElement).fontSize),
    });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  const at = (event) => {
    const frame = canvas.current.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    return {
      pool: rows[Math.floor((y + box.current.scrollTop) / row)],
      host: x < label ? undefined : columns[Math.floor((x - label + box.current.scrollLeft) / cell)],
    };
  };

  const draw = () => {
    const { width, height } = size;
    const scale = window.devicePixelRatio;
    const target = canvas.current;
    // Effects run after the next frame, and the user may have left the page by then.
    if (!target) return;
    if (target.width !== Math.round(width * scale) || target.height !== Math.round(height * scale)) {
      target.width = Math.round(width * scale);
      target.height = Math.round(height * scale);
    }
    const pen = target.getContext("2d");
    const { scrollTop, scrollLeft } = box.current;
    const colours = theme(target);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const firstRow = Math.floor(scrollTop / row);
    const lastRow = Math.min(rows.length, Math.ceil((scrollTop + height) / row));
    const firstColumn = Math.max(0, Math.floor(scrollLeft / cell));
    const lastColumn = Math.min(columns.length, Math.ceil((scrollLeft + width - label) / cell));
    const gap = cell >= 5 ? 1 : 0;
    const index = new Map();
    for (let at = firstRow; at < lastRow; at++) index.set(rows[at].name, at);
    pen.fillStyle = colours.line;
    for (let at = firstRow; at < lastRow; at++) pen.fillRect(0, (at + 1) * row - scrollTop - 1, width, 1);
    for (let at = firstColumn; at < lastColumn; at++) {
      const host = columns[at];
      const left = label + at * cell - scrollLeft;
      for (const name of host.pools) {
        const line = index.get(name);
        if (line === undefined) continue;
        pen.fillStyle = rows[line].colour || colours.muted;
        pen.globalAlpha = host.pools.length > 1 ? 1 : 0.55;
        pen.fillRect(left, line * row - scrollTop + 2, Math.max(1, cell - gap), row - 5);
      }
    }
    pen.globalAlpha = 1;
    if (pointed?.host) {
      pen.fillStyle = colours.accent;
      pen.globalAlpha = 0.25;
      pen.fillRect(label + columns.indexOf(pointed.host) * cell - scrollLeft, 0, Math.max(2, cell), height);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = colours.surface;
    pen.fillRect(0, 0, label - 6, height);
    pen.font = font(size.rem);
    pen.textBaseline = "middle";
    for (let at = firstRow; at < lastRow; at++) {
      const middle = at * row - scrollTop + row / 2;
      pen.fillStyle = rows[at].name === first ? colours.accent : colours.text;
      pen.fillText(cut(pen, rows[at].name, label - size.rem * 2), size.rem * 1.2, middle);
    }
  };
  const frame = useRef(0);
  const redraw = () => {
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(draw);
  };
  useEffect(redraw);
  useEffect(() => {
    // The colours are the theme's.
    const watcher = new MutationObserver(redraw);
    watcher.observe(document.documentElement, { attributes: true });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", redraw);
    return () => {
      watcher.disconnect();
      system.removeEventListener("change", redraw);
      cancelAnimationFrame(frame.current);
    };
  });

  const words = pointed?.host
    ? `${pointed.host.name}, ${stateWord(pointed.host).toLowerCase()}: in ${pointed.host.pools.join(", ")}`
    : pointed?.pool ? `${pointed.pool.name}: ${plural(pointed.pool.hosts, "host")}. Click to bring its hosts to the front.` : "";
  return html`<div class="map" ref=${box} tabindex="0" onScroll=${redraw} role="img"
      aria-label="Membership map. The list of overlaps beside it has the same information in words.">
    <canvas ref=${canvas} style=${{ width: `${size.width}px`, height: `${size.height}px` }}
      onPointerMove=${(event) => setPointed(at(event))} onPointerLeave=${() => setPointed(null)}
      onClick=${(event) => { const { pool } = at(event); if (pool) onPick(pool.name); }}></canvas>
    <div style=${{ width: `${label + cell * columns.length}px`, height: `${Math.max(0, rows.length * row - size.height)}px` }}></div>
  </div>
  <p class="selection muted" aria-live="off">${words || (rows.length ? "Point at the map: each column is a host, each row a pool. Full colour: the host is in more than one pool." : nothing("There are no pools yet."))}</p>`;
}

const font = (rem) => `${Math.round(rem * 0.95)}px system-ui, "DejaVu Sans", sans-serif`;

/** The theme's colours, for the canvas. */
function theme(element) {
  const probe = document.createElement("span");
  element.parentElement.append(probe);
  const found = {};
  for (const name of ["text", "muted", "line", "surface", "accent"]) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

function cut(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length;
  while (end && pen.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}

// --- use over time ---------------------------------------------------------------------------------------------------

function UsagePage() {
  const [text, setText] = useState("");
  const { value, error } = useAnswer((signal) => read("usage", {}, signal), "usage", 15);
  // The objects stay the same as long as their contents do: a chart is not drawn again because a number beside it
  // changed.
  const series = useMemo(
    () => new Map(Object.entries(value?.pools ?? {}).map(([name, lines]) => [name, { when: value.when, ...lines }])), [value]);
  const shown = pools.value.filter((pool) => series.has(pool.name) && pool.name.toLowerCase().includes(text.trim().toLowerCase()));
  return html`<div class="usage-page">
    <div class="filters">
      <${Search} value=${text} onInput=${setText} label="Search pools" placeholder="Search (press /)" />
      <span class="legend"><i class="busy"></i>Busy <i class="free"></i>Free <i class="blocked"></i>Nimby, paused, sick</span>
      <span class="muted">Up to twelve hours, counted while the Pool Manager runs.</span>
    </div>
    <div class="scroll charts">
      <${Pending} value=${value} error=${error}>Loading the use of every pool…</${Pending}>
      ${shown.map((pool) => html`<article key=${pool.name} class="card">
        <header><h3><${Swatch} colour=${pool.colour} /> ${pool.name}</h3>
          <span class="muted">${number(pool.busy)} of ${number(pool.hosts)} busy</span></header>
        <${UsageChart} series=${series.get(pool.name)} hosts=${pool.hosts} label="Use of ${pool.name}" />
      </article>`)}
      ${value && !shown.length && html`<p class="empty">${pools.value.length ? "No pool matches the search." : nothing("There are no pools yet.")}</p>`}
    </div>
  </div>`;
}
