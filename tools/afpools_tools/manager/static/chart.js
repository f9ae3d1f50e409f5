// How busy a pool was, as an SVG: busy at the bottom, free above it, then hosts that are online but take no jobs.

import { html, useMemo, useState } from "./html.js";
import { number, time } from "./format.js";

const WIDTH = 600;
const HEIGHT = 100;
const SHORTEST = 10 * 60; // the shortest time axis, in seconds

/** Runs of samples in which the pool existed, without long gaps. */
function runs({ when, busy }) {
  const found = [];
  let run = [];
  for (let at = 0; at < when.length; at++) {
    const gap = run.length && when[at] - when[run.at(-1)] > 3 * typical(when);
    if (busy[at] === null || gap) {
      if (run.length) found.push(run);
      run = [];
    }
    if (busy[at] !== null) run.push(at);
  }
  if (run.length) found.push(run);
  return found;
}

/** The usual time between two samples. */
function typical(when) {
  const steps = when.slice(1).map((value, at) => value - when[at]).sort((a, b) => a - b);
  return Math.max(15, steps[steps.length >> 1] ?? 0);
}

export function UsageChart({ series, hosts, label, axis = true }) {
  const [at, setAt] = useState(null);
  const drawn = useMemo(() => {
    const { when, busy, free, online } = series;
    if (!when.length) return null;
    const last = when.at(-1);
    const first = Math.min(when[0], last - SHORTEST);
    const top = Math.max(1, hosts, ...online.filter((value) => value !== null));
    const x = (index) => ((when[index] - first) / (last - first)) * WIDTH;
    const y = (value) => HEIGHT - (value / top) * HEIGHT;
    const area = (run, low, high) => {
      const upper = run.map((index) => `${x(index).toFixed(1)} ${y(high(index)).toFixed(1)}`);
      const lower = run.map((index) => `${x(index).toFixed(1)} ${y(low(index)).toFixed(1)}`).reverse();
      return `M${upper.join("L")}L${lower.join("L")}Z`;
    };
    const paths = { busy: "", free: "", blocked: "" };
    for (const run of runs(series)) {
      paths.busy += area(run, () => 0, (index) => busy[index]);
      paths.free += area(run, (index) => busy[index], (index) => busy[index] + free[index]);
      paths.blocked += area(run, (index) => busy[index] + free[index], (index) => online[index]);
    }
    return { first, last, x, top, paths };
  }, [series, hosts]);
  if (!drawn) return html`<p class="muted">Nothing has been counted yet: the Pool Manager counts every 15 seconds while it runs.</p>`;
  const { first, last, x, top, paths } = drawn;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const wanted = first + ((event.clientX - box.left) / box.width) * (last - first);
    let best = 0;
    series.when.forEach((value, index) => {
      if (Math.abs(value - wanted) < Math.abs(series.when[best] - wanted)) best = index;
    });
    setAt(best);
  };
  const shown = at !== null && at < series.when.length ? at : series.when.length - 1;
  const words = series.busy[shown] === null ? "no pool then"
    : `${number(series.busy[shown])} busy, ${number(series.free[shown])} free, ${number(series.online[shown])} online`;
  return html`<figure class="chart">
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${label}: now ${words}, of ${top}"
        onPointerMove=${point} onPointerLeave=${() => setAt(null)}>
      <path class="busy" d=${paths.busy} /><path class="free" d=${paths.free} /><path class="blocked" d=${paths.blocked} />
      ${at !== null && html`<line x1=${x(shown)} x2=${x(shown)} y1="0" y2=${HEIGHT} />`}
    </svg>
    ${axis && html`<figcaption class="muted"><span>${time(first * 1000)}</span>
      <span>${at !== null ? `${time(series.when[shown] * 1000)}: ${words}` : ""}</span><span>${time(last * 1000)}</span></figcaption>`}
  </figure>`;
}
