// History: who changed what and when, and undo.

import { html, useEffect, useRef, useState } from "../html.js";
import { read } from "../api.js";
import { breakable, date, duration, number, time } from "../format.js";
import { hosts, isAway, jobs, isReader, loaded, may, membership, poolByName, pools, status, waiting } from "../store.js";
import { Pending, Swatch, done, undo } from "../ui.js";
import { askFirst, concernsJobs } from "../whatif.js";

const PAGE = 100;
const MOST = 500; // the most entries that the broker gives at a time

export function HistoryPage({ argument }) {
  const [entries, setEntries] = useState(null);
  const [more, setMore] = useState(false);
  const [error, setError] = useState(null);
  const asked = useRef(0);
  const wanted = useRef(PAGE);
  // From the newest on, as many as are wanted: nobody loses the place that he has scrolled to, and no wish for older
  // ones is lost to a change that comes in the same moment.
  const load = async () => {
    const mine = ++asked.current;
    try {
      const found = [];
      let full = true;
      while (full && found.length < wanted.current) {
        const limit = Math.min(MOST, wanted.current - found.length);
        const before = found.at(-1)?.id ?? null;
        const { entries: next } = await read("history", { pool: argument || null, limit, before });
        if (mine !== asked.current) return; // another request was made meanwhile
        found.push(...next);
        full = next.length === limit;
      }
      setEntries(found);
      setMore(full);
      setError(null);
    } catch (problem) {
      if (mine === asked.current) setError(problem);
    }
  };
  // Every change of a pool or of the registered hosts makes a history entry.
  const revisions = pools.value.map((pool) => pool.revision).join();
  const registered = hosts.value.reduce((sum, host) => sum + host.registered, 0);
  // Moving jobs does too.
  const moved = jobs.value.map((job) => `${job.id} ${job.pool}`).join();
  const shown = useRef("");
  useEffect(() => {
    if (shown.current !== argument) {
      wanted.current = PAGE;
      setEntries(null); // they belong to another pool
      setMore(false);
    }
    shown.current = argument;
    // Before anything has arrived, our role is not known.
    if (loaded.value && !isReader.value) load();
  }, [argument, revisions, registered, moved, membership.value, status.value.reachable, loaded.value, isReader.value]);
  if (isReader.value) {
    return html`<section class="page"><header><h2>History</h2></header>
      <p class="pad muted">The history needs a manager profile, and you have a reader profile.</p></section>`;
  }
  const take = async (entry) => {
    const question = undoing(entry);
    if (question) await undoSeen(entry, question);
    else await undo([entry.id], describe(entry));
    load();
  };
  const older = () => {
    wanted.current = entries.length + PAGE;
    load();
  };
  return html`<section class="page">
    <header>
      <h2>History</h2>
      <label class="pool-filter"><span class="muted">Pool</span>
        <select value=${argument} aria-label="Pool" onChange=${(event) => (location.hash = `#/history/${encodeURIComponent(event.target.value)}`)}>
          <option value="">all</option>
          ${argument && !poolByName.value.has(argument) && html`<option value=${argument}>${argument}</option>`}
          ${pools.value.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select></label>
    </header>
    <div class="table scroll" tabindex="0" role="region" aria-label="Changes">
      <table class="history">
        <thead><tr><th>When</th><th>Who</th><th>What</th><th>Difference</th><th>Undo</th></tr></thead>
        <tbody>${entries?.map((entry) => html`<tr key=${entry.id}>
          <td class="when"><span>${time(entry.when)}</span> <span class="muted">${date(entry.when)}</span></td>
          <td>${entry.who}</td>
          <td>${entry.verb || entry.op}${entry.pool && html` <span class="chip"><${Swatch}
            colour=${poolByName.value.get(entry.pool)?.colour} />${entry.pool}</span>`}</td>
          <td><${Difference} entry=${entry} /></td>
          <td class="undo"><${UndoCell} entry=${entry} onUndo=${() => take(entry)} /></td>
        </tr>`)}</tbody>
      </table>
      ${(error || !entries?.length) && html`<div class="empty">
        ${!loaded.value && isAway.value ? html`<p>${waiting()}</p>`
          : html`<${Pending} value=${entries} error=${error}>Loading the history…</${Pending}>`}
        ${entries && !error && html`<p>Nothing has changed yet.</p>`}</div>`}
      ${more && html`<p class="pad"><button onClick=${older}>Older changes</button></p>`}
    </div>
  </section>`;
}

const describe = (entry) => `${entry.verb || entry.op} ${entry.pool}`.trim();

/** The question to preview an undo with; null if it would not affect any job on the farm. */
function undoing({ id, pool, diff }) {
  if (!diff.jobs) return concernsJobs(pool) ? { entries: [id] } : null;
  const [before, ...others] = new Set(diff.jobs.map((job) => job.before));
  return before && !others.length ? { pools: [before], jobs: diff.jobs.map((job) => ({ id: job.id, serial: job.serial })) } : null;
}

/** Shows how an undo would affect jobs, then makes it. */
const undoSeen = (entry, question) => askFirst({
  title: `Undo: ${describe(entry)}?`,
  submit: "Undo",
  question,
  change: ["undo", { entries: [entry.id] }],
  made: ({ done: undone }) => done(`Undone: ${describe(entry)}`, undone.map((one) => one.change)),
});

const JOBS_SHOWN = 5;

/** The jobs that were moved. */
function movedJobs(jobs) {
  const more = jobs.length - JOBS_SHOWN;
  const words = jobs.slice(0, JOBS_SHOWN).map(({ id, name, before, after }) => `${id} ${name}: ${before || "no pool"} → ${after || "no pool"}`);
  return html`<span class="clamp">${words.join(", ")}${more > 0 && ` and ${number(more)} more`}</span>`;
}

/** A second pool, in words: `night after 30 minutes`. */
function spillOf(text) {
  const [seconds, ...to] = text.split(" ");
  return text && `${to.join(" ")} after ${duration(Number(seconds))}`;
}

function Difference({ entry }) {
  const { diff, ranges, op } = entry;
  const lines = [];
  const [followed, follows] = diff.follows ?? ["", ""];
  if (op === "pools.mirror") lines.push(html`<span class="mono">${breakable(follows)}</span>`);
  else if (followed !== follows) {
    lines.push(html`<span class="text">follows: ${followed && html`<del>${breakable(followed)}</del> → `}${follows ? html`<ins>${breakable(follows)}</ins>` : "none"}</span>`);
  }
  if (diff.name && diff.name[0] && diff.name[1]) lines.push(html`<del>${diff.name[0]}</del> → <ins>${diff.name[1]}</ins>`);
  for (const [key, sign] of [["added", "+"], ["removed", "−"]]) {
    if (diff[key]?.length) {
      lines.push(html`<span class="change ${key}"><b>${sign} ${number(diff[key].length)}</b> <span class="mono clamp">${breakable(ranges[key])}</span></span>`);
    }
  }
  if (diff.jobs?.length) lines.push(movedJobs(diff.jobs));
  if (op !== "pools.delete") {
    const texts = [];
    for (const key of ["description", "colour"]) {
      if (!diff[key]) continue;
      const [before, after] = diff[key];
      const mark = (value) => (key === "colour" && value ? html`<${Swatch} colour=${value} /> ${value}` : value);
      texts.push(html`<span class="text">${key}: ${before && html`<del>${mark(before)}</del> → `}${after ? html`<ins>${mark(after)}</ins>` : "none"}</span>`);
    }
    if (diff.spill) {
      const [before, after] = diff.spill.map(spillOf);
      texts.push(html`<span class="text">second pool: ${before && html`<del>${before}</del> → `}${after ? html`<ins>${after}</ins>` : "none"}</span>`);
    }
    if (texts.length) lines.push(texts);
  }
  return html`<div class="difference">${lines.map((line, index) => html`<div key=${index}>${line}</div>`)}</div>`;
}

function UndoCell({ entry, onUndo }) {
  if (!entry.undoable) return html`<span class="muted why">${entry.why_not}</span>`;
  return html`<button class="copy" disabled=${!may("history.undo")} onClick=${onUndo}
    aria-label="Undo: ${describe(entry)}">Undo</button>`;
}
