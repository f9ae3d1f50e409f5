// Broker: the state of the brokers, their database and the farm, in words.

import { html } from "../html.js";
import { read } from "../api.js";
import { date, duration, number, plural } from "../format.js";
import { Pending, useAnswer } from "../ui.js";

export function BrokerPage() {
  const { value, error } = useAnswer((signal) => read("brokers", {}, signal), "brokers", 10);
  return html`<section class="page">
    <header><h2>Broker</h2><span class="muted">Every endpoint of your profile, asked every ten seconds.</span></header>
    <div class="reading wide">
      <${Pending} value=${value} error=${error}>Asking every endpoint of your profile…</${Pending}>
      ${value && html`<div class="cards">
        ${value.endpoints.map((endpoint) => html`<${Endpoint} key=${endpoint.url} endpoint=${endpoint} />`)}
        <${Credentials} answer=${value} />
      </div>`}
    </div>
  </section>`;
}

function Endpoint({ endpoint }) {
  const { url, hello, health, error } = endpoint;
  const state = error ? ["bad", "Down"] : health.status === "healthy" ? ["good", "Healthy"] : ["warn", "Degraded"];
  return html`<article class="card">
    <header><h3>${hello?.broker || endpoint.broker || "Broker"}</h3><span class="tag ${state[0]}">${state[1]}</span></header>
    <p class="muted"><span class="mono">${url}</span>, ${url.startsWith("tls:") ? "for plug-ins and commands" : "for programs with pyzmq"}</p>
    ${error ? html`<p class="error">It does not answer: ${error}. Plug-ins with this profile try the next endpoint, if there is one.</p>`
      : html`<${Facts} endpoint=${endpoint} />`}
  </article>`;
}

function Facts({ endpoint: { hello, health, connected_ms } }) {
  const { store, farm } = health;
  return html`
    ${health.problems.map((problem) => html`<p key=${problem} class="warning">${problem}</p>`)}
    <dl class="facts">
      <dt>Answers</dt><dd>in ${number(connected_ms)} ms, with the handshake; version ${health.version}, up for ${duration(health.uptime)}</dd>
      <dt>You are</dt><dd>${hello.name}, ${hello.role}: ${hello.role === "manager" ? "may change pools" : "may read"}</dd>
      <dt>Database</dt><dd>${store.reachable
        ? `${store.kind} answers in ${store.latency_ms.toFixed(1)} ms; ${plural(health.pools, "pool")}, confirmed ${duration(store.snapshot_age)} ago`
        : `${store.kind} does not answer. Pools are as of ${duration(store.snapshot_age)} ago, and cannot be changed until it is back.`}</dd>
      <dt>Farm</dt><dd>${farm.source === "registered" ? "No afserver is set: the hosts registered by hand are the farm."
        : farm.reachable ? `afserver at ${farm.server} answers; ${plural(farm.renders, "render")}, as of ${duration(farm.age ?? 0)} ago`
        : farm.age === null ? `afserver at ${farm.server} has never answered: there are no masks, and jobs with a pool are refused.`
        : `afserver at ${farm.server} does not answer; its ${plural(farm.renders, "render")} are as of ${duration(farm.age)} ago.`}</dd>
      <dt>Connections</dt><dd>${counts(health.connections)}${health.refused_connections ? `; ${number(health.refused_connections)} refused` : ""}</dd>
      <dt>Requests</dt><dd><details><summary>${number(total(health.requests))} since it started</summary>${counts(health.requests)}</details></dd>
      ${Object.keys(health.errors).length > 0 && html`<dt>Refusals</dt><dd>${Object.entries(health.errors)
        .map(([operation, codes]) => `${operation}: ${typeof codes === "number" ? number(codes) : counts(codes)}`).join("; ")}</dd>`}
      <dt>Expiring</dt><dd>${health.credentials.length
        ? html`<ul>${health.credentials.map(({ name, kind, expires, days_left }) => html`<li key=${`${kind} ${name}`}>${name} (${kind}): ${
          days_left < 0 ? "expired" : `in ${plural(days_left, "day")}`}, ${date(expires)}</li>`)}</ul>`
        : "no credential within 30 days"}</dd>
    </dl>`;
}

const total = (numbers) => Object.values(numbers).reduce((sum, count) => sum + count, 0);

const counts = (numbers) =>
  Object.entries(numbers).map(([name, count]) => `${name} ${number(count)}`).join(", ") || "none";

function Credentials({ answer: { profile, credentials } }) {
  return html`<article class="card">
    <header><h3>Your profile</h3><span class="tag">${profile.role}</span></header>
    <p class="mono muted">${profile.folder}</p>
    <dl class="facts">
      <dt>Name</dt><dd>${profile.name}</dd>
      ${credentials.map(({ what, error, expires, days_left }) => html`<dt key=${what}>${what}</dt>
        <dd class=${error || days_left < 30 ? "bad" : ""}>${error ?? (days_left < 0
          ? `expired on ${date(expires)}. Whoever runs the broker renews it: afpools certs renew ${profile.name}`
          : `valid until ${date(expires)}, ${plural(days_left, "day")}`)}</dd>`)}
    </dl>
  </article>`;
}
