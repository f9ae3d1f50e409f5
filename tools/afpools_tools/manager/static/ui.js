// Components that pages share.

import { html, signal, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";
import { write } from "./api.js";
import { number, plural } from "./format.js";
import { askFirst, concernsAnyJob } from "./whatif.js";
import { isStale, may, members as membersOf, poolByName, waiting } from "./store.js";

// --- toasts: what was done, and its undo -----------------------------------------------------------------------------

const toasts = signal([]);
let lastToast = 0;

/** Shows a message for a while. kind: "done" or "failed"; action: {label, run}. */
export function toast(text, { kind = "done", action = null } = {}) {
  const id = ++lastToast;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind, action }];
  // A message that needs an answer stays until it gets one.
  if (kind !== "failed" || !action) setTimeout(() => dismiss(id), kind === "failed" ? 12000 : 8000);
}

const dismiss = (id) => (toasts.value = toasts.value.filter((shown) => shown.id !== id));

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(({ id, text, kind, action }) => html`
      <div key=${id} class="toast ${kind}">
        <span>${text}</span>
        ${action && html`<button class="link" onClick=${() => { dismiss(id); action.run(); }}>${action.label}</button>`}
        <button class="icon" aria-label="Dismiss" onClick=${() => dismiss(id)}>✕</button>
      </div>`)}
  </div>`;
}

/** Says what a change did, with an Undo if possible. `changes` are ids of history entries; `remark` is a further
 * sentence. */
export function done(text, changes, remark = "") {
  const entries = changes.filter(Boolean).reverse();
  const action = entries.length && may("history.undo") ? { label: "Undo", run: () => undoSeen(entries, text) } : null;
  toast(remark ? `${text}. ${remark}` : text, { action });
}

/** Undoes changes. */
export const undo = (entries, text) => make(() => write("undo", { entries }), (answer) => sayUndone(answer, entries, text));

/** Undoes changes after showing how this affects jobs on the farm. */
async function undoSeen(entries, text) {
  const question = { entries };
  if (!(await concernsAnyJob(question))) return undo(entries, text);
  return askFirst({
    title: `Undo: ${text}?`, submit: "Undo", question, change: ["undo", { entries }],
    made: (answer) => sayUndone(answer, entries, text),
  });
}

function sayUndone({ done: undone, failed: refusal }, entries, text) {
  if (undone.length) {
    const part = refusal ? `, ${number(undone.length)} of ${number(entries.length)} changes` : "";
    done(`Undone: ${text}${part}`, undone.map((one) => one.change));
  }
  if (refusal) failed(new Error(refusal));
}

export const failed = (error) => toast(error.message, { kind: "failed" });

/** Makes a change, and reports a failure. If it is not known whether the change was made, offers to repeat it. Returns
 * whether it was made and `then`, which gets the answer, did not return false. */
export async function make(change, then) {
  try {
    return then(await change()) !== false;
  } catch (error) {
    const action = error.repeat && { label: "Try again", run: () => make(error.repeat, then) };
    toast(error.message, { kind: "failed", action });
    return false;
  }
}

export const ANYWAY = "Add anyway";
export const ANYWAY_WORDS = "These machines are not set up yet";

// --- dialogs ---------------------------------------------------------------------------------------------------------

/** A modal dialog with a form. `onSubmit` gets the function that makes changes, and may throw an error to show; the dialog
 * closes when it has succeeded. `blocked`: something must be decided first. If the broker does not know the machines to
 * add, the dialog offers to add them anyway: `onSubmit` then also gets parameters that say so. */
export function Dialog({ title, submit, danger = false, blocked = false, onSubmit, onClose, children }) {
  const dialog = useRef(null);
  const [error, setError] = useState("");
  const [unknown, setUnknown] = useState(false);
  const [busy, setBusy] = useState(false);
  // Changes whose outcome is not known. Submitting the same form again repeats them.
  const unsettled = useRef(new Map());
  useLayoutEffect(() => {
    dialog.current.showModal();
  }, []);
  const change = async (name, params) => {
    const key = JSON.stringify([name, params]);
    try {
      const answer = await (unsettled.current.get(key) ?? write)(name, params);
      unsettled.current.delete(key);
      return answer;
    } catch (problem) {
      if (problem.repeat) unsettled.current.set(key, problem.repeat);
      throw problem;
    }
  };
  // A refusal is about what was shown at the time, so a change by others clears it.
  useEffect(() => setError(""), [blocked]);
  const send = async (event, anyway = {}) => {
    event.preventDefault();
    setError("");
    setUnknown(false);
    setBusy(true);
    try {
      await onSubmit(change, anyway);
      dialog.current?.close();
    } catch (problem) {
      setError(problem.message);
      setUnknown(problem.code === "unknown_host");
    } finally {
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-label=${title} onClose=${onClose}>
    <form onSubmit=${send} onInput=${() => setUnknown(false)}>
      <h2>${title}</h2>
      ${children}
      ${error && !blocked && html`<p class="error" role="alert">${error}</p>`}
      <div class="buttons">
        <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        ${unknown && !blocked && html`<button type="button" disabled=${busy} title=${ANYWAY_WORDS}
          onClick=${(event) => send(event, { new_hosts: true })}>${ANYWAY}</button>`}
        <button class=${danger ? "danger" : "primary"} disabled=${busy || blocked}>${submit}</button>
      </div>
    </form>
  </dialog>`;
}

const NAMED = 8; // how many hosts a list of differences names

function named(names) {
  const more = names.length - NAMED;
  return `${plural(names.length, "host")}: ${names.slice(0, NAMED).join(", ")}${more > 0 ? ` and ${number(more)} more` : ""}`;
}

/** What others have changed in a pool, in words. */
function differences(before, after) {
  const found = [];
  const [had, has] = [new Set(before.members), new Set(after.members)];
  const won = after.members.filter((name) => !had.has(name));
  const lost = before.members.filter((name) => !has.has(name));
  if (won.length) found.push(["hosts", `Added ${named(won)}`]);
  if (lost.length) found.push(["hosts", `Removed ${named(lost)}`]);
  for (const key of ["description", "colour"]) {
    if (before[key] !== after[key]) found.push([key, `Changed the ${key} from ${before[key] || "none"} to ${after[key] || "none"}`]);
  }
  return found;
}

/** A pool that the user is deciding about while others may change it.
 *
 * `now`: the current pool, null if no pool has this name any more; `changes`: what others have changed since the user
 * last agreed, as [what, sentence]; `agree`: continue with the current pool. Send `now.revision` with the change: either
 * it is what was shown, or there is a conflict. */
export function useDecision(name) {
  const pool = poolByName.value.get(name);
  const members = membersOf.value.get(name);
  const now = useMemo(() => pool && { ...pool, members: (members ?? []).map((host) => host.name) }, [pool, members]);
  const [seen, setSeen] = useState(now);
  return { now: now ?? null, seen, changes: now ? differences(seen, now) : [], agree: () => setSeen(now) };
}

/** Shows what others have changed while a dialog was open. `children`: the buttons to decide with. */
export function Meanwhile({ name, gone, changes, children }) {
  if (gone) {
    return html`<p class="warning" role="alert">The pool ${name} no longer exists: it has been deleted or renamed.</p>`;
  }
  if (!changes.length) return null;
  return html`<div class="warning" role="alert">
    <p>${name} has changed while this was open:</p>
    <ul class="effects">${changes.map(([, sentence]) => html`<li key=${sentence}>${sentence}</li>`)}</ul>
    <div class="buttons">${children}</div>
  </div>`;
}

// --- lists -----------------------------------------------------------------------------------------------------------

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

/** Keeps only the visible rows in the page. `rowRem`: height of a row; `cursor`: index of the current item, which is
 * scrolled into view when it becomes current, but not when other rows move it: the user could not scroll away from it. */
export function VirtualList({ items, rowRem = 2.5, row, cursor = -1, empty = "", ...attributes }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 800, row: rowRem * 13 });
  useLayoutEffect(() => {
    const measure = () =>
      setView({ top: box.current.scrollTop, height: box.current.clientHeight, row: Math.round(rowRem * rem()) });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [rowRem]);
  useEffect(() => {
    if (cursor < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const top = cursor * view.row;
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + view.row > scrollTop + clientHeight) box.current.scrollTop = top + view.row - clientHeight;
  }, [items[cursor]?.key ?? items[cursor]?.name, view.row]);
  const first = Math.max(0, Math.floor(view.top / view.row) - 6);
  const last = Math.min(items.length, Math.ceil((view.top + view.height) / view.row) + 6);
  const rows = [];
  for (let index = first; index < last; index++) rows.push(row(items[index], index, { top: `${index * view.row}px` }));
  return html`<div ref=${box} class="scroll" ...${attributes}
      onScroll=${() => setView((before) => ({ ...before, top: box.current.scrollTop }))}
      onClick=${() => {
        // The grid handles the keyboard and knows the current row. Not on pointer down, which would end a drag.
        if (document.activeElement === box.current) box.current.closest("[role=grid]")?.focus({ preventScroll: true });
      }}>
    ${!items.length && empty ? html`<div class="empty">${empty}</div>` : null}
    <div class="rows" role="presentation" style=${{ height: `${items.length * view.row}px` }}>${rows}</div>
  </div>`;
}

// --- answers ---------------------------------------------------------------------------------------------------------
// An answer is in one of three states, which never look alike: loading, failed, or arrived (perhaps empty).

export const Loading = ({ children }) => html`<p class="loading" role="status">${children}</p>`;

/** The placeholder for an answer: that it is loading, or why it failed; nothing once it has arrived. */
export function Pending({ value, error, children }) {
  // If there is no broker, the banner above every page says why.
  if (error && !isStale.value) return html`<p class="error" role="alert">${error.message}</p>`;
  if (value) return null;
  return error ? html`<p class="muted">${waiting()}</p>` : html`<${Loading}>${children}</${Loading}>`;
}

// --- small things ----------------------------------------------------------------------------------------------------

export function Swatch({ colour }) {
  return html`<span class="swatch ${colour ? "" : "none"}" style=${colour ? { background: colour } : {}}
    aria-hidden="true"></span>`;
}

/** Busy, free and other online hosts as parts of all hosts. */
export function UsageBar({ pool }) {
  const { hosts, busy, free, online, known } = pool;
  if (!known) return html`<span class="bar" role="img" aria-label="not known" title="It is not known which hosts are online"></span>`;
  const share = (count) => ({ width: `${hosts ? (100 * count) / hosts : 0}%` });
  const words = `${busy} busy, ${free} free, ${online - busy - free} not available, ${Math.max(0, hosts - online)} offline`;
  return html`<span class="bar" role="img" aria-label=${words} title=${words}>
    <span class="busy" style=${share(busy)}></span><span class="free" style=${share(free)}></span
    ><span class="blocked" style=${share(online - busy - free)}></span>
  </span>`;
}

export function Search({ value, onInput, label, placeholder }) {
  return html`<input type="search" class="search" value=${value} aria-label=${label} placeholder=${placeholder}
    spellcheck=${false} autocomplete="off" data-search onInput=${(event) => onInput(event.target.value)}
    onKeyDown=${(event) => event.key === "Escape" && value && (event.stopPropagation(), onInput(""))} />`;
}

/** A group of buttons of which one is pressed. `options`: value, label, and optionally a count and a tooltip. */
export function Choice({ label, options, value, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map(([option, word, count, title]) => html`
      <button key=${option} type="button" title=${title} aria-pressed=${option === value} onClick=${() => onChange(option)}>
        ${word}${count !== undefined && html` <small>${number(count)}</small>`}
      </button>`)}
  </div>`;
}

export function Copy({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      failed(new Error(`The browser did not allow copying: ${error.message}`));
      return;
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<button type="button" class="copy" aria-label=${label} onClick=${copy}>${copied ? "Copied" : "Copy"}</button>`;
}

/** The answer to a question: loads when `key` changes, and again every `seconds` if given. */
export function useAnswer(ask, key, seconds = 0) {
  const [answer, setAnswer] = useState({ value: null, error: null, key: null });
  useEffect(() => {
    let current = true;
    const aborter = new AbortController();
    const load = () =>
      ask(aborter.signal).then(
        (value) => current && setAnswer({ value, error: null, key }),
        (error) => current && error.name !== "AbortError" &&
          setAnswer((before) => ({ value: before.key === key ? before.value : null, error, key })),
      );
    load();
    const timer = seconds ? setInterval(load, seconds * 1000) : null;
    return () => {
      current = false;
      aborter.abort();
      clearInterval(timer);
    };
  }, [key]);
  return answer.key === key ? answer : { value: null, error: null };
}
