// Questions and changes. Every failure is an ApiError with a sentence for people.

import { forgetSecret, keepSecret, secret } from "./session.js";
import { closed } from "./store.js";

export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** An aborted request keeps its error, because nobody waits for it any more. Every other failure on the way becomes one error. */
function onTheWay(error) {
  if (error.name === "AbortError") return error;
  return new ApiError("manager_gone", "The Pool Manager does not answer. Is `afpools manager` still running?");
}

/** The Pool Manager's answer to a request, once its headers have arrived. `parts`: the request's options, without the secret. */
export async function ask(path, { headers = {}, ...parts } = {}) {
  const answer = await fetch(`/api/${path}`, {
    ...parts,
    headers: secret() ? { ...headers, Authorization: `Bearer ${secret()}` } : headers,
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
  }).catch((error) => { throw onTheWay(error); });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  const { code, message } = body?.error ?? { code: "internal", message: `The Pool Manager failed with status ${answer.status}.` };
  if (code === "no_session") {
    forgetSecret();
    closed.value = { code, message };
  }
  throw new ApiError(code, message);
}

const whole = (reading) => reading.catch((error) => { throw onTheWay(error); });

const address = (name, params) => {
  // Parameters that are null or undefined are left out.
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return query ? `${name}?${query}` : name;
};

/** Asks a question. */
export const read = async (name, params = {}, signal = undefined) =>
  whole((await ask(address(name, params), { signal })).json());

/** Asks for a file. */
export const readFile = async (name, params) => whole((await ask(address(name, params))).blob());

/** Asks a question that is too long for an address. */
export async function readLong(name, params, signal = undefined) {
  const headers = { "Content-Type": "application/json" };
  return whole((await ask(name, { method: "POST", signal, headers, body: JSON.stringify(params) })).json());
}

/** A unique name. Not `randomUUID`, which some browsers only offer for 127.0.0.1 and https. */
export const newName = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Does something that does not change pools, and that may safely be done twice. */
export const act = (name, params) => readLong(name, params);

/** Changes something. If it is not known whether the change was made, the error has a `repeat`, which sends the same
 * change under the same name: it is made once, however often it is sent. */
export const write = (name, params) => change(name, { ...params, request_id: newName() });

async function change(name, params, again = false) {
  try {
    return await readLong(name, params);
  } catch (error) {
    if (!again && error.code !== "outcome_unknown" && error.code !== "manager_gone") throw error;
    // A refusal of this attempt says nothing about the first, which may have succeeded or still be in progress.
    const unknown = "It is not known whether the change was made.";
    const message = error.code === "outcome_unknown" ? error.message : `${unknown} ${error.message}`;
    throw Object.assign(new ApiError("outcome_unknown", message), { repeat: () => change(name, params, true) });
  }
}

/** Exchanges a token for this tab's secret. If it is refused, the error says why. */
export async function openSession(token) {
  try {
    keepSecret((await readLong("session", { token })).secret);
    closed.value = null;
  } catch (error) {
    forgetSecret();
    closed.value = error;
  }
}
