// Jobs on the farm, in words.

import { computed } from "./html.js";
import { duration, number, plural, time } from "./format.js";
import { jobs, jobsStatus, loaded, nothing, status } from "./store.js";

/** The state of a job's fence, in the words that every interface shows. */
export const fenceWords = ({ fence }) => jobsStatus.value.fences[fence] ?? fence;

/** Whether the job does not follow its pool until somebody presses *Take up again*. */
export const isLeftAlone = ({ fence }) => jobsStatus.value.left_alone.includes(fence);

/** The list of values for each key. */
function grouped(pairs) {
  const found = new Map();
  for (const [key, value] of pairs) {
    if (found.has(key)) found.get(key).push(value);
    else found.set(key, [value]);
  }
  return found;
}

/** Whether a job may use its second pool now. */
export const isSpilled = (job) => Boolean(job.spill?.since);

/** The pools whose hosts a job may use: its own, and the second one once it spilled. */
export const poolsOf = (job) => (isSpilled(job) ? [job.pool, job.spill.pool] : [job.pool]);

/** The state of a job's second pool, in words; empty if it has none. */
export function spillWords({ spill }) {
  if (!spill) return "";
  if (spill.why) return spill.why;
  if (spill.since) return `Also on ${spill.pool} since ${time(spill.since)}`;
  const waits = spill.waited ? `, ${duration(spill.waited)} so far` : "";
  return `Also on ${spill.pool} after ${duration(spill.after)} without a running task${waits}`;
}

/** Jobs of each pool, and those that spilled to it. */
export const jobsOf = computed(() => grouped(jobs.value.filter((job) => job.pool).flatMap((job) => poolsOf(job).map((pool) => [pool, job]))));

const onHost = computed(() => grouped(jobs.value.flatMap((job) => job.hosts.map(({ name, tasks }) =>
  [name, `${job.name} (${job.user})${tasks > 1 ? `, ${plural(tasks, "task")}` : ""}`]))));

/** What runs on a host and for whom, one text for each job. */
export const runsOn = (host) => onHost.value.get(host) ?? [];

export const tasksOf = (job) => {
  const counts = [[job.running, "running"], [job.ready, "ready"]].filter(([count]) => count);
  return counts.map(([count, word]) => `${number(count)} ${word}`).join(", ") || job.state;
};

/** How many hosts it may use, in words. */
export function hostsOf(job) {
  if (job.renders === null) return "not known";
  return job.online === null ? plural(job.renders, "host") : `${number(job.online)} of ${number(job.renders)} online`;
}

export const jobWords = (job) => `${job.id} ${job.name}`;

/** Whether there is a list of jobs. */
export const areJobsKnown = computed(() => jobsStatus.value.offered && !jobsStatus.value.error);

/** Why there is no list of jobs; empty if there is one. */
export function whyNoJobs() {
  if (!loaded.value) return nothing("");
  if (!status.value.operations.includes("jobs.list")) return "This broker does not list jobs. Update the broker.";
  return jobsStatus.value.error;
}

/** Warnings about a list of jobs that is not fully reliable. */
export function jobsWarnings() {
  const { problem, age, behind, kept, more } = jobsStatus.value;
  // A time, not a duration: screen readers read this aloud whenever it changes.
  const ago = (seconds) => time(Date.now() - seconds * 1000);
  return [
    problem,
    !problem && age && `Showing the jobs as they were at ${ago(age)}: afserver has not confirmed them since. Check whether it runs.`,
    !problem && !kept && "No broker is known to keep the fences, so jobs may not follow their pools. See the page Broker.",
    behind && `Some fences have waited since ${ago(behind)} to be moved. See the page Broker.`,
    more && "There are more jobs than this page shows. Filter them with afpools jobs --pool or --user.",
  ].filter(Boolean);
}
