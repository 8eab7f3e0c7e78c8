// @ts-check
// Trying a method: its arguments as JSON with the schema that the API's document has of them, or bytes; the reply, its
// time and what went wrong. Items of a stream are shown as they come.

import { example, explained } from "./schema.js";

/**
 * @typedef {{name: string, encoding: string, shape: string, signature: string, params: [string, string][], doc: string, read_only: boolean, deadline_ms: number | null}} Method
 */

/** So much of a reply is shown. */
const MAX_SHOWN_CHARS = 200_000;

export class Attempt {
  #service;
  /** @type {Map<string, Method>} */
  #methods = new Map();
  /** @type {any} */
  #document = null;
  /** @type {AbortController | null} */
  #running = null;
  #saved = "";

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#service = section.dataset.service ?? "";
    const form = /** @type {HTMLFormElement | null} */ (section.querySelector("#try-form"));
    if (!form) return;
    field("try-method").addEventListener("change", () => this.#choose());
    byId("try-cancel").addEventListener("click", () => this.#running?.abort());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#call();
    });
    document.addEventListener("click", (event) => {
      const link = /** @type {Element} */ (event.target).closest("a[data-method]");
      if (!link || form.hidden) return;
      // Going to the section by its address would take the focus from the field.
      event.preventDefault();
      section.scrollIntoView();
      field("try-method").value = /** @type {HTMLElement} */ (link).dataset.method ?? "";
      this.#choose();
      field("try-method").focus({ preventScroll: true });
    });
    void this.#load(form);
  }

  get #address() {
    return `/api/v1/services/${encodeURIComponent(this.#service)}`;
  }

  /** What shows that a change comes from this page; a daemon that has started anew has another. */
  get #token() {
    const form = /** @type {HTMLFormElement | null} */ (document.querySelector(".service-head form"));
    return form ? (new URL(form.action).searchParams.get("page") ?? "") : "";
  }

  get #method() {
    return this.#methods.get(field("try-method").value);
  }

  /** @param {HTMLElement} form */
  async #load(form) {
    const [service, api] = await Promise.all([fetch(this.#address), fetch("/api/v1/openapi.json")]);
    if (!service.ok) return;
    for (const method of (await service.json()).methods) this.#methods.set(method.name, method);
    if (api.ok) this.#document = await api.json();
    form.hidden = false;
    this.#choose();
  }

  #choose() {
    const method = this.#method;
    if (!method) return;
    const isRaw = method.encoding === "raw";
    byId("try-json").hidden = isRaw;
    byId("try-bytes").hidden = !isRaw;
    byId("try-stream").hidden = !takesStream(method);
    const kind = method.shape === "unary" ? method.encoding : `${method.encoding}, ${method.shape}`;
    byId("try-about").textContent = `${method.name}${method.signature} · ${kind}${method.doc ? ` · ${method.doc}` : ""}`;
    field("try-deadline").placeholder = method.deadline_ms ? String(method.deadline_ms) : "30000";
    const path = `${this.#address}/methods/${encodeURIComponent(method.name)}`;
    const content = this.#document?.paths?.[path]?.post?.requestBody?.content ?? {};
    const lines = content["application/x-ndjson"];
    const schema = content["application/json"]?.schema ?? lines?.["x-firstLineSchema"];
    const item = lines?.["x-itemSchema"];
    byId("try-schema").hidden = !schema;
    if (schema) {
      const shown = byId("try-schema").querySelector("pre");
      const told = item ? { arguments: schema, item } : schema;
      if (shown) shown.textContent = JSON.stringify(explained(told, this.#document), null, 2);
    }
    const first = (schema?.prefixItems ?? []).map((/** @type {any} */ part) => example(part, this.#document));
    const isLong = first.some((/** @type {unknown} */ value) => value && typeof value === "object");
    const text = JSON.stringify(first, null, isLong ? 2 : 0);
    const area = /** @type {HTMLTextAreaElement} */ (byId("try-arguments"));
    area.value = text;
    area.rows = Math.min(Math.max(text.split("\n").length, 5), 16);
    byId("try-result").hidden = true;
    byId("try-outcome").textContent = "";
  }

  async #call() {
    const method = this.#method;
    if (!method || this.#running) return;
    this.#running = new AbortController();
    byId("try-cancel").hidden = false;
    byId("try-call").setAttribute("aria-disabled", "true");
    tell("calling …", "");
    const began = performance.now();
    try {
      const { body, type } = await content(method);
      /** @type {Record<string, string>} */
      const headers = { "content-type": type, accept: "application/json, */*" };
      const deadline = field("try-deadline").value;
      if (deadline) headers["shmrpc-deadline-ms"] = deadline;
      const path = `${this.#address}/methods/${encodeURIComponent(method.name)}?page=${this.#token}`;
      const response = await fetch(path, { method: "POST", headers, body, signal: this.#running.signal });
      await this.#show(response, began);
    } catch (error) {
      const isOwn = error instanceof DOMException && error.name === "AbortError";
      tell(isOwn ? "cancelled" : String(error instanceof Error ? error.message : error), "bad");
    } finally {
      this.#running = null;
      byId("try-cancel").hidden = true;
      byId("try-call").removeAttribute("aria-disabled");
    }
  }

  /**
   * @param {Response} response
   * @param {number} began
   */
  async #show(response, began) {
    const type = response.headers.get("content-type") ?? "";
    const reply = byId("try-reply");
    byId("try-result").hidden = false;
    byId("try-save").hidden = true;
    reply.textContent = "";
    const took = () => `${(performance.now() - began).toLocaleString("en-GB", { maximumFractionDigits: 1 })} ms`;
    if (type.startsWith("application/x-ndjson") && response.body) {
      let items = 0;
      for await (const chunk of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
        items += chunk.split("\n").length - 1;
        if (reply.textContent.length < MAX_SHOWN_CHARS) reply.append(chunk);
        tell(`${items} lines in ${took()} …`, "");
      }
      tell(`${items} lines in ${took()}`, "good");
      return;
    }
    const bytes = await response.arrayBuffer();
    const text = new TextDecoder().decode(bytes);
    reply.textContent = shown(type.includes("json") ? pretty(text) : text);
    if (response.ok && !type.includes("json")) this.#offer(bytes);
    const size = `${bytes.byteLength.toLocaleString("en-GB")} bytes`;
    if (response.ok) tell(`${response.status} in ${took()}, ${size}`, "good");
    else tell(`${response.status} ${word(text) ?? response.statusText}, after ${took()}`, "bad");
  }

  /** @param {ArrayBuffer} bytes */
  #offer(bytes) {
    URL.revokeObjectURL(this.#saved);
    this.#saved = URL.createObjectURL(new Blob([bytes]));
    const link = /** @type {HTMLAnchorElement} */ (byId("try-save"));
    link.href = this.#saved;
    link.hidden = false;
  }
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {string} id */
function field(id) {
  return /** @type {HTMLInputElement} */ (document.getElementById(id));
}

/**
 * @param {string} text
 * @param {"good" | "bad" | ""} kind
 */
function tell(text, kind) {
  byId("try-outcome").textContent = text;
  byId("try-outcome").dataset.kind = kind;
}

/**
 * What is sent, or an error that says what is wrong with it.
 * @param {Method} method
 * @returns {Promise<{body: BodyInit, type: string}>}
 */
async function content(method) {
  if (method.encoding === "raw") {
    const file = field("try-file").files?.[0];
    return { body: file ?? new TextEncoder().encode(field("try-text").value), type: "application/octet-stream" };
  }
  const text = field("try-arguments").value.trim() || "[]";
  const value = JSON.parse(text);
  if (!Array.isArray(value)) throw new Error("the arguments are a JSON array, also a single one: [1]");
  if (!takesStream(method)) return { body: text, type: "application/json" };
  // The arguments on a line, number for number as they were written; the daemon looks at the items.
  const line = text.replaceAll("\n", " ");
  return { body: `${line}\n${field("try-items").value}`, type: "application/x-ndjson" };
}

/** @param {Method} method */
function takesStream(method) {
  return method.shape === "upload" || method.shape === "duplex";
}

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @param {string} text */
function shown(text) {
  if (text.length <= MAX_SHOWN_CHARS) return text;
  return `${text.slice(0, MAX_SHOWN_CHARS)} … ${(text.length - MAX_SHOWN_CHARS).toLocaleString("en-GB")} characters more`;
}

/**
 * The detail of a problem document.
 * @param {string} text
 */
function word(text) {
  try {
    return /** @type {string | undefined} */ (JSON.parse(text).detail);
  } catch {
    return undefined;
  }
}

/**
 * @param {ReadableStream<string>} stream
 * @returns {AsyncGenerator<string>}
 */
async function* pieces(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
