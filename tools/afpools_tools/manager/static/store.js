// The state: pools, hosts, jobs, and the connection with the broker. live.js fills it, pages read it.

import { computed, signal } from "./html.js";
import { byName, number } from "./format.js";

/** Sorted by name. A pool: name, hosts, revision, description, colour, online, busy, free, machines (in words, what of it is
 * on the farm), renders (null where not known), known (whether it is known who is online), follows (the one of Afanasy's own
 * pools whose renders it has; empty if people choose its hosts), spillTo (its second pool; empty for none), spillAfter (seconds
 * without a running task until its jobs may use that too). */
export const pools = signal([]);

/** Sorted by name. A host: name, states, address, engine, native, registered, pools, state. */
export const hosts = signal([]);

/** Jobs on the farm, sorted by number. A job: the fields of the client library's `Job`, and `key`, which is never reused. */
export const jobs = signal([]);

/** How reliable they are: the fields of `JobsStatus` in jobs.py. */
export const jobsStatus = signal({ offered: false, error: "", problem: "", age: 0, behind: 0, kept: true, more: false, requeue: false, fences: {}, left_alone: [] });

export const status = signal({ reachable: false, since: 0, error: "", operations: [], problems: [], limits: {} });

/** Whether the stream from the Pool Manager works; without it, what is shown is old, whatever `status` says. */
export const connected = signal(true);

/** Why this tab has no session: code and message; null if it has one. */
export const closed = signal(null);

/** Whether anything has arrived yet. */
export const loaded = signal(false);

/** The text for an empty list. `text` is for a list that is known to be empty, not for one that is still loading, nor
 * for one that is not available. */
export function nothing(text) {
  if (loaded.value) return text;
  return isAway.value ? waiting() : "Loading…";
}

/** The placeholder for something that is not available now; the banner above every page says why. */
export const waiting = () => (connected.value ? "Waiting for the broker." : "Waiting for the Pool Manager.");

/** A number, or nothing before anything has arrived. */
export const counted = (value) => (loaded.value ? number(value) : "");

export const poolByName = computed(() => new Map(pools.value.map((pool) => [pool.name, pool])));
export const hostByName = computed(() => new Map(hosts.value.map((host) => [host.name, host])));
export const jobByKey = computed(() => new Map(jobs.value.map((job) => [job.key, job])));

/** The hosts of each pool, by the pool's name. */
export const members = computed(() => {
  const found = new Map(pools.value.map((pool) => [pool.name, []]));
  for (const host of hosts.value) {
    for (const name of host.pools) found.get(name)?.push(host);
  }
  return found;
});

/** Whether it is known that the broker or the Pool Manager does not answer; false before the first answer. */
export const isAway = computed(() => !connected.value || (!status.value.reachable && status.value.since > 0));

export const isStale = computed(() => !connected.value || !status.value.reachable);

/** Changes whenever a host joins or leaves a pool, appears or disappears; not with the states of renders. */
export const membership = signal(0);

/** Whether the broker allows us this operation now. */
export const may = (operation) => !isStale.value && status.value.operations.includes(operation);

/** How many characters texts may have: `pool` (its name), `description`, `native_path`. */
export const limits = computed(() => status.value.limits);
export const isReader = computed(() => status.value.role === "reader");

function poolOf([name, count, revision, description, colour, online, busy, free, machines, renders, known, follows = "", spillTo = "", spillAfter = 0]) {
  return { name, hosts: count, revision, description, colour, online, busy, free, machines, renders, known, follows, spillTo, spillAfter };
}

/** Why the hosts of a pool cannot be changed here; empty if they can. */
export const whyFixed = (pool) => (pool?.follows
  ? `${pool.name} follows Afanasy's pool ${pool.follows}: its hosts are changed in Afanasy. Unfollow it to change them here.` : "");

/** Whether a job for this pool would wait, because none of its machines is online. */
export const cannotRun = (pool) => pool.hosts > 0 && (pool.renders === 0 || (pool.known && pool.online === 0));

/** Whether this member of a pool is not on the farm. False if the farm is not known. */
export const isAbsent = (host) => status.value.farm_known && host.pools.length > 0 && host.state === "unknown" && !host.engine;

function hostOf([name, states, address, engine, native, registered, itsPools]) {
  return { name, states, address, engine, native, registered, pools: itsPools, state: stateOf(states) };
}

/** One word for a host's state. The same rule as in usage.py: a busy host counts as busy, whatever else it is. */
function stateOf(states) {
  if (!states.length) return "unknown";
  if (!states.includes("online")) return "offline";
  if (states.includes("busy")) return "busy";
  if (states.includes("sick")) return "sick";
  if (states.includes("paused")) return "paused";
  if (states.includes("nimby")) return "nimby";
  return "free";
}

const jobKey = (id, serial) => `${id}.${serial}`;

function jobOf([id, serial, name, user, state, ready, running, tasksDone, tasks, online, renders, itsHosts, pool, outside, fence, why, moved, by, exclude, spill]) {
  return {
    key: jobKey(id, serial), id, serial, name, user, state, ready, running, done: tasksDone, tasks, online, renders,
    hosts: itsHosts.map(([host, count, isOutside]) => ({ name: host, tasks: count, outside: isOutside })),
    pool, outside, fence, why, moved, by, exclude, spill: spill && spillOf(spill),
  };
}

const spillOf = ([pool, after, since, waited, own, why]) => ({ pool, after, since, waited, own, why });

const byNumber = (a, b) => a.id - b.id || a.serial - b.serial;

/** Rows with the changes applied. `nameOf` gives a row's name; `read` makes a row from one that has arrived. */
function merged(rows, changed, gone, whole, read, nameOf = (row) => row.name, order = byName) {
  const known = new Map(whole ? [] : rows.map((row) => [nameOf(row), row]));
  const before = known.size;
  for (const name of gone) known.delete(name);
  const kept = known.size;
  for (const row of changed.map(read)) known.set(nameOf(row), row);
  const now = [...known.values()];
  // A Map keeps its order, so sorting is only needed for new names.
  return before === kept && kept === known.size ? now : now.sort(order);
}

function isMoved([name, , , , , , now]) {
  const before = hostByName.peek().get(name)?.pools;
  return !before || before.length !== now.length || before.some((pool, at) => pool !== now[at]);
}

/** Applies one message of the stream. */
export function apply(message) {
  const { whole } = message;
  if (message.pools) pools.value = merged(pools.value, message.pools, message.pools_gone, whole, poolOf);
  if (message.hosts && (whole || message.hosts_gone.length || message.hosts.some(isMoved))) membership.value++;
  if (message.hosts) hosts.value = merged(hosts.value, message.hosts, message.hosts_gone, whole, hostOf);
  if (message.jobs) jobs.value = merged(jobs.value, message.jobs, message.jobs_gone, whole, jobOf, (job) => job.key, byNumber);
  if (message.jobs_status) jobsStatus.value = message.jobs_status;
  if (message.status) status.value = message.status;
  if (status.value.reachable) loaded.value = true;
}
