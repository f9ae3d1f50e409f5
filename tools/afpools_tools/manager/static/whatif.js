// Shows what a change would do to the jobs on the farm before it is made.

import { html, signal, useEffect, useState } from "./html.js";
import { ApiError, readLong, write } from "./api.js";
import { number, plural } from "./format.js";
import { areJobsKnown, jobsOf, whyNoJobs } from "./jobs.js";
import { Choice, Dialog, make, toast } from "./ui.js";

// Milliseconds.
const TYPING = 300;
const AGAIN = 5_000;

/** Asks what a change would do, once typing has stopped, and repeatedly until the change is made.
 *
 * `question`: the parameters of `preview`; null for none. Nothing waits for the answer.
 * Returns `shown`, to put into a dialog, and `after`, to call once the change is made. */
export function useWhatIf(question) {
  const key = question && areJobsKnown.value ? JSON.stringify(question) : "";
  const [answer, setAnswer] = useState({ key: "", value: null, error: null });
  const [choice, setChoice] = useState("finish");
  useEffect(() => {
    if (!key) return undefined;
    const aborter = new AbortController();
    let timer;
    const ask = () => readLong("preview", JSON.parse(key), aborter.signal).then(
      (value) => setAnswer({ key, value, error: null }),
      (error) => error.name !== "AbortError" && setAnswer({ key, value: null, error }),
    ).finally(() => {
      if (!aborter.signal.aborted) timer = setTimeout(ask, AGAIN);
    });
    timer = setTimeout(ask, TYPING);
    return () => {
      clearTimeout(timer);
      aborter.abort();
    };
  }, [key]);
  const { value, error } = answer.key === key ? answer : { value: null, error: null };
  return {
    shown: question && html`<${WhatIf} asked=${key !== ""} value=${value} error=${error} choice=${choice} onChoice=${setChoice} />`,
    after: () => choice === "requeue" && value?.tasks && !value.requeue && sendBack(value.back),
  };
}

function WhatIf({ asked, value, error, choice, onChoice }) {
  if (!asked) return html`<p class="hint">Jobs on the farm keep their masks. ${whyNoJobs()}</p>`;
  return html`<div class="what-if" role="group" aria-label="Jobs on the farm">
    <div aria-live="polite">
      ${error && html`<p class="hint">It is not known what this does to the jobs on the farm. ${error.message}</p>`}
      ${!error && !value && html`<p class="hint">Checking the jobs on the farm…</p>`}
      ${value && html`<ul class="effects">${value.sentences.map((sentence) => html`<li key=${sentence}>${sentence}</li>`)}</ul>`}
    </div>
    ${value?.tasks > 0 && html`<${Running} value=${value} choice=${choice} onChoice=${onChoice} />`}
  </div>`;
}

function Running({ value: { tasks, back, requeue }, choice, onChoice }) {
  const where = back.hosts.length > 3 ? plural(back.hosts.length, "host") : back.hosts.join(", ");
  const [which, them] = tasks === 1 ? ["The task", "it"] : [`The ${plural(tasks, "task")}`, "them"];
  const label = `${which} on ${where}`;
  if (requeue) return html`<p>${label} ${tasks === 1 ? "is" : "are"} sent back by the broker.</p>`;
  return html`<div class="running"><span>${label}:</span>
    <${Choice} label=${label} value=${choice} onChange=${onChoice}
      options=${[["finish", `Let ${them} finish`], ["requeue", `Send ${them} back`]]} /></div>`;
}

/** Sends back tasks that run outside their job's fence. `back`: the jobs, and the hosts if only these are meant. */
export const sendBack = (back) => make(() => write("jobs/requeue", back), ({ tasks, failed }) => {
  if (tasks) toast(`Sent back ${plural(tasks, "task")}`);
  sayFailed(failed);
  if (!tasks && !failed.length) toast("No task runs outside its fence any more.");
});

/** Says which jobs were not changed. */
export function sayFailed(jobs) {
  if (!jobs.length) return;
  const more = jobs.length > 3 ? ` And ${number(jobs.length - 3)} more.` : "";
  const lines = jobs.slice(0, 3).map(({ id, name, why }) => `Job ${id} ${name}: ${why}`);
  toast(lines.join("\n") + more, { kind: "failed" });
}

// --- a dialog for changes that do not have their own -----------------------------------------------------------------

const asked = signal(null);

/** Whether a change of this pool affects jobs, so that its effect must be shown first. */
export const concernsJobs = (pool) => jobsOf.value.has(pool);

/** The same for a change of any kind: if there are jobs that name a pool, asks the broker. */
export async function concernsAnyJob(question) {
  if (!areJobsKnown.value || !jobsOf.value.size) return false;
  try {
    return (await readLong("preview", question)).total > 0;
  } catch {
    return true; // the dialog says why that is not known
  }
}

/** Shows what a change would do, and makes it if the user agrees. `made` gets the answer. Returns whether it was made.
 *
 * `change`: the name of the request, and its parameters. */
export const askFirst = ({ title, submit, question, change, made }) => new Promise((resolve) => {
  asked.value = { title, submit, question, change, made, resolve };
});

/** The dialog of `askFirst`. */
export function AskedFirst() {
  return asked.value && html`<${Asked} ...${asked.value} />`;
}

function Asked({ title, submit, question, change: [name, params], made, resolve }) {
  const whatIf = useWhatIf(question);
  const send = async (change, anyway) => {
    const answer = await change(name, { ...params, ...anyway });
    if (answer.failed?.length && !answer.done?.length) throw refusal(answer.failed);
    made(answer);
    whatIf.after();
    resolve(true);
  };
  const close = () => {
    asked.value = null;
    resolve(false);
  };
  return html`<${Dialog} title=${title} submit=${submit} onSubmit=${send} onClose=${close}>${whatIf.shown}</${Dialog}>`;
}

/** The text of refusals: one sentence, or one with a code for each pool. */
const refusal = (refused) => (typeof refused === "string" ? new ApiError("", refused) : new ApiError(refused[0].code, refused[0].message));
