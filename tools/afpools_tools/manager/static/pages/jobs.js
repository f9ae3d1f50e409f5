// Jobs: the jobs on the farm and their pools; moves jobs to another pool, and takes up again those that somebody
// changed.

import { html, useMemo, useState } from "../html.js";
import { write } from "../api.js";
import { date, number, plural, time } from "../format.js";
import {
  areJobsKnown, fenceWords, hostsOf, isLeftAlone, isSpilled, jobWords, jobsOf, jobsWarnings, poolsOf, spillWords, tasksOf, whyNoJobs,
} from "../jobs.js";
import { useSelection } from "../selection.js";
import { counted, jobByKey, jobs, may, nothing, poolByName, pools } from "../store.js";
import { Targets, endDrag, startDrag } from "../targets.js";
import { Dialog, Search, Swatch, VirtualList, done, make, toast } from "../ui.js";
import { sayFailed, sendBack, useWhatIf } from "../whatif.js";

const keyOf = (job) => job.key;

/** Whether every word is somewhere in a job's row. */
function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (job) => {
    const shown = [jobWords(job), job.user, ...poolsOf(job), job.state, ...job.hosts.map(({ name }) => name)].join(" ").toLowerCase();
    return words.every((word) => shown.includes(word));
  };
}

export function JobsPage({ argument }) {
  const [text, setText] = useState("");
  const [user, setUser] = useState("");
  const [moving, setMoving] = useState(null);
  const shown = useMemo(() => {
    const fits = matcher(text);
    return jobs.value.filter((job) => (!argument || poolsOf(job).includes(argument)) && (!user || job.user === user) && fits(job));
  }, [jobs.value, text, user, argument]);
  const ours = useMemo(() => shown.filter((job) => job.pool), [shown]);
  const others = useMemo(() => shown.filter((job) => !job.pool), [shown]);
  const [mine, theirs] = [useSelection(ours, jobByKey, keyOf), useSelection(others, jobByKey, keyOf)];
  const chosen = [...mine.names, ...theirs.names].map((key) => jobByKey.value.get(key));
  const move = (keys, pool) => setMoving({ keys, pool });
  const names = [...new Set([...pools.value.map(({ name }) => name), ...jobsOf.value.keys(), argument])].filter(Boolean);
  const users = [...new Set([...jobs.value.map((job) => job.user), user])].filter(Boolean).sort();
  const none = (sentence) => whyNoJobs() || (text || user || argument ? "No job matches the filter." : nothing(sentence));
  return html`<section class="page split hosts-page">
    <div class="list">
      <header>
        <h2>Jobs <small>${areJobsKnown.value && (shown.length === jobs.value.length ? counted(shown.length)
          : `${number(shown.length)} of ${number(jobs.value.length)}`)}</small></h2>
        <${Search} value=${text} onInput=${setText} label="Filter jobs" placeholder="Filter: number, name, user, host (press /)" />
        <label class="pool-filter"><span class="muted">Pool</span>
          <select value=${argument} aria-label="Pool" onChange=${(event) => (location.hash = `#/jobs/${encodeURIComponent(event.target.value)}`)}>
            <option value="">any</option>
            ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select></label>
        <label class="pool-filter"><span class="muted">User</span>
          <select value=${user} aria-label="User" onChange=${(event) => setUser(event.target.value)}>
            <option value="">any</option>
            ${users.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
          </select></label>
      </header>
      ${jobsWarnings().map((sentence) => html`<p key=${sentence} class="warning pad-x" role="status">${sentence}</p>`)}
      <${JobTable} label="Jobs" prefix="job" items=${ours} selection=${mine}
        columns=${["Job", "Pool", "User", "Tasks", "May use", "Fence", "Moved"]} parts=${ourParts}
        empty=${none("No unfinished job on the farm names a pool. Choose a pool in a submitter, and the job appears here.")} />
      ${areJobsKnown.value && jobs.value.length > 0 && !argument && html`<h3 class="below">Jobs that name no pool <small class="muted">${counted(others.length)}</small></h3>
        <${JobTable} label="Jobs that name no pool" prefix="other" items=${others} selection=${theirs}
          columns=${["Job", "User", "Tasks", "May use", "Exclude mask"]} parts=${otherParts}
          empty=${none("Every job on the farm names a pool.")} />`}
      <p class="hidden" id="selecting">Arrows move, Shift extends the selection, Space toggles, Control A selects all jobs shown.</p>
      <${Actions} chosen=${chosen} move=${move} clear=${() => { mine.clear(); theirs.clear(); }} />
    </div>
    <${PoolTargets} chosen=${chosen} move=${move} />
    ${moving && html`<${MoveDialog} ...${moving} onClose=${() => setMoving(null)} />`}
  </section>`;
}

const wordsFor = (some) => (some.length === 1 ? jobWords(some[0]) : plural(some.length, "job"));

const references = (some) => some.map(({ id, serial }) => ({ id, serial }));

function JobTable({ label, prefix, items, selection, columns, parts, empty }) {
  return html`<div class="table jobs ${prefix}" role="grid" aria-label=${label} aria-multiselectable="true" tabindex="0"
      aria-rowcount=${items.length + 1} onKeyDown=${selection.onKeyDown} aria-describedby="selecting"
      aria-activedescendant=${selection.cursor >= 0 ? `${prefix}-${selection.cursor}` : undefined}>
    <div class="row head" role="row">${columns.map((word) => html`<span key=${word} role="columnheader">${word}</span>`)}</div>
    <${VirtualList} items=${items} rowRem=${2.25} cursor=${selection.cursor} role="rowgroup" tabindex="-1" empty=${empty}
      row=${(job, index, style) => {
        const selected = selection.has(job.key);
        const drag = (event) => {
          // Dragging a row that is not selected drags only that row.
          if (!selected) selection.only(index);
          startDrag(event, selected ? selection.names : [job.key]);
        };
        return html`<div key=${job.key} id="${prefix}-${index}" role="row" aria-rowindex=${index + 2} aria-selected=${selected} style=${style}
            class="row ${selected ? "selected" : ""} ${index === selection.cursor ? "current" : ""}" draggable=${may("jobs.move")}
            onDragStart=${drag} onDragEnd=${endDrag} onClick=${(event) => selection.onClick(event, index)}>
          ${parts(job).map(([what, title = what, kind = "muted"], at) => html`<span key=${at} role="gridcell" class="cut ${kind}" title=${title}>${what}</span>`)}
        </div>`;
      }} />
  </div>`;
}

/** Where a job runs, for a tooltip. */
const where = (job) => [tasksOf(job), ...job.hosts.map(({ name, tasks, outside }) =>
  `${name}: ${plural(tasks, "task")}${outside ? ", outside its fence" : ""}`)].join("\n");

const nameParts = (job) => [html`<b>${job.id}</b> ${job.name}`, jobWords(job), "strong"];
const taskParts = (job) => [tasksOf(job), where(job), job.running ? "busy" : ""];
const hostParts = (job) => [hostsOf(job), undefined, job.online === 0 ? "stuck" : ""];

function fenceParts(job) {
  const { fence, why, outside } = job;
  const words = fenceWords(job);
  if (fence !== "current") return [words, why, "stuck"];
  return outside ? [`${plural(outside, "task")} outside`, `${words}. ${plural(outside, "task")} started before the fence moved.`, ""] : [words];
}

/** Its pool, and the second one once it spilled; if it waits for that, an arrow and how long. */
function poolParts(job) {
  const { pool, spill } = job;
  const words = spillWords(job);
  const more = isSpilled(job) ? html` + ${spill.pool}` : spill ? html` <span class="muted">→ ${spill.pool}</span>` : "";
  return [html`<${Swatch} colour=${poolByName.value.get(pool)?.colour} /> ${pool}${more}`, words ? `${pool}. ${words}` : pool, spill?.why ? "stuck" : ""];
}

const movedParts = ({ moved, by }) => (moved ? [`${time(moved)} ${by}`, `${date(moved)}, ${time(moved)}: ${by}`] : ["never"]);

const ourParts = (job) => [
  nameParts(job),
  poolParts(job),
  [job.user], taskParts(job), hostParts(job), fenceParts(job), movedParts(job),
];

const otherParts = (job) => [nameParts(job), [job.user], taskParts(job), hostParts(job), [job.exclude || "none", job.exclude, "muted mono"]];

/** Says which jobs were changed and which were not. */
function say(text, { change, moved, failed }) {
  if (change) done(text, [change]);
  else if (moved) toast(text);
  sayFailed(failed);
}

/** The buttons for the selected jobs. */
function Actions({ chosen, move, clear }) {
  const left = chosen.filter(isLeftAlone);
  const outside = chosen.filter((job) => job.outside);
  const tasks = outside.reduce((sum, job) => sum + job.outside, 0);
  const adopt = () => make(() => write("jobs/adopt", { jobs: references(left) }), (answer) => {
    say(`Took up ${wordsFor(left)} again`, answer);
    for (const { id, remark } of answer.remarks.slice(0, 3)) toast(`Job ${id}: ${remark}`);
  });
  return html`<footer class="selection" aria-live="polite">
    ${chosen.length ? html`<b>${plural(chosen.length, "job")} selected</b>
      <button disabled=${!may("jobs.move")} onClick=${() => move(chosen.map(keyOf), "")}>Move…</button>
      ${left.length > 0 && html`<button disabled=${!may("jobs.adopt")} onClick=${adopt}
        title="They get their pool's mask, and follow the pool from now on">Take up ${number(left.length)} again</button>`}
      ${tasks > 0 && html`<button disabled=${!may("jobs.requeue")} onClick=${() => sendBack({ jobs: references(outside) })}
        title="They start again within their job's fence">Send back ${plural(tasks, "task")}</button>`}
      <button onClick=${clear}>Clear</button>
      <${Why} chosen=${chosen} />`
      : html`<span class="muted">Click, Shift-click and Ctrl-click to select. Then move jobs with Move…, or drag them onto a pool.</span>`}
  </footer>`;
}

/** If only one job is selected: why its fence is in this state, and the state of its second pool. */
function Why({ chosen }) {
  if (chosen.length !== 1) return null;
  const [job] = chosen;
  const words = [job.why, spillWords(job)].filter(Boolean).join(" ");
  return words ? html`<span class="cut ${job.why || job.spill?.why ? "stuck" : "muted"}" title=${words}>${words}</span>` : null;
}

/** The pools as drop targets, with an arrow button. */
function PoolTargets({ chosen, move }) {
  const what = chosen.length ? wordsFor(chosen) : "jobs";
  return html`<${Targets} label="Pools to move jobs to" onDrop=${(pool, keys) => move(keys, pool)} parts=${(pool) => {
    const count = jobsOf.value.get(pool.name)?.length ?? 0;
    return html`<span class="muted count" title="${plural(count, "job")} on the farm">${number(count)}</span>
      <button class="icon" aria-label="Move ${what} to ${pool.name}" title="Move ${what} to ${pool.name}"
        disabled=${!may("jobs.move") || chosen.every((job) => job.pool === pool.name)}
        onClick=${() => move(chosen.map(keyOf), pool.name)}>→</button>`;
  }} />`;
}

function MoveDialog({ keys, pool, onClose }) {
  const [target, setTarget] = useState(pool);
  // The jobs as they were when this was opened; the broker says which of them are gone.
  const [some] = useState(() => keys.map((key) => jobByKey.value.get(key)).filter(Boolean));
  const whatIf = useWhatIf(target ? { pools: [target], jobs: references(some) } : null);
  const move = async (change) => {
    const answer = await change("jobs/move", { jobs: references(some), pool: target });
    say(`Moved ${answer.moved === 1 && some.length === 1 ? jobWords(some[0]) : plural(answer.moved, "job")} to ${target}`, answer);
    whatIf.after();
  };
  return html`<${Dialog} title="Move ${wordsFor(some)}" submit="Move" onSubmit=${move} onClose=${onClose}>
    <label>To pool<select value=${target} required autofocus onChange=${(event) => setTarget(event.target.value)}>
      <option value="">choose a pool</option>
      ${pools.value.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
    </select></label>
    ${whatIf.shown}
  </${Dialog}>`;
}
