// Questions and changes. Every failure is an ApiError with a sentence for people.

export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

let csrf = "";

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error; // nobody waits for it any more
    throw new ApiError("manager_gone", "The Pool Manager does not answer. Is `afpools manager` still running?");
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) {
    const error = body?.error ?? { code: "internal", message: `The Pool Manager failed with status ${answer.status}.` };
    throw new ApiError(error.code, error.message);
  }
  return body;
}

/** Asks; parameters that are null or undefined are left out. */
export function read(name, params = {}, signal = undefined) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return call(query ? `${name}?${query}` : name, { signal });
}

/** Changes something; or asks what is too long for an address. */
export function write(name, params, signal = undefined) {
  return call(name, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(params),
  });
}

export async function openSession() {
  const session = await read("session");
  csrf = session.csrf;
  return session;
}
