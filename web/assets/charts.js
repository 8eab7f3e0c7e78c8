// @ts-check
// Charts of a service. The library is loaded when the charts come into view, after the tables are live; the figures
// come from the daemon's history, events are drawn as lines across them. Zooming into one chart zooms all.

import { morph } from "./morph.js";

/**
 * @typedef {{series: string, unit: string, values: (number | null)[]}} Column
 * @typedef {{from_ms: number, step_ms: number, points: number, columns: Column[]}} History
 * @typedef {{time_ms: number, text: string}} Event
 * @typedef {{react: Function, purge: Function}} Library
 */

const POINTS = 300;
const MAX_EVENTS = 200;
const MIN_REFRESH_MS = 2000;
const MAX_REFRESH_MS = 60000;
const TABLES_MS = 60000;
const MIN_SPAN_MS = 10000;

/** Steps of units: from which value on, by what it is divided, what is written. @type {Record<string, [number, number, string][]>} */
const UNITS = {
  cpus: [[0, 0.01, " %"]],
  bytes: [[2 ** 30, 2 ** 30, " GiB"], [2 ** 20, 2 ** 20, " MiB"], [2 ** 10, 2 ** 10, " KiB"], [0, 1, " B"]],
  "bytes/s": [[2 ** 30, 2 ** 30, " GiB/s"], [2 ** 20, 2 ** 20, " MiB/s"], [2 ** 10, 2 ** 10, " KiB/s"], [0, 1, " B/s"]],
  ns: [[1e9, 1e9, " s"], [1e6, 1e6, " ms"], [1e3, 1e3, " µs"], [0, 1, " ns"]],
};

export class Charts {
  #section;
  #service;
  #figures;
  #whole;
  #spanMs;
  /** @type {[number, number] | null} the part that the reader looks at; null: up to now */
  #window = null;
  /** @type {Library | null} */
  #library = null;
  #isInView = false;
  #isDrawing = false;
  #tablesAt = Date.now();
  /** @type {number | undefined} */
  #timer;

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#section = section;
    this.#service = section.dataset.service ?? "";
    this.#figures = /** @type {HTMLElement[]} */ ([...section.querySelectorAll("figure")]);
    this.#whole = /** @type {HTMLElement} */ (section.querySelector("#charts-whole"));
    const current = /** @type {HTMLElement} */ (section.querySelector("[data-seconds][aria-current]"));
    this.#spanMs = Number(current.dataset.seconds) * 1000;
  }

  start() {
    this.#section.addEventListener("click", (event) => {
      const link = /** @type {Element} */ (event.target).closest("a[data-seconds]");
      if (!link) return;
      event.preventDefault();
      this.#choose(/** @type {HTMLAnchorElement} */ (link));
    });
    /** @type {HTMLElement} */ (this.#section.querySelector(".zoom")).hidden = false;
    this.#section.querySelector(".zoom")?.addEventListener("click", (event) => {
      const button = /** @type {Element} */ (event.target).closest("button");
      if (button) this.#move(button.dataset.zoom ?? "");
    });
    new IntersectionObserver((entries) => {
      this.#isInView = entries.at(-1)?.isIntersecting ?? false;
      if (this.#isInView) void this.#draw();
    }, { rootMargin: "200px" }).observe(this.#section);
    document.addEventListener("visibilitychange", () => void this.#draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => void this.#draw());
  }

  /** @param {HTMLAnchorElement} link */
  #choose(link) {
    this.#spanMs = Number(link.dataset.seconds) * 1000;
    this.#section.querySelector("[aria-current]")?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    history.replaceState(null, "", link.href);
    this.#look(null);
    void this.#renewTables();
  }

  /**
   * Zooming without a pointer.
   * @param {string} how
   */
  #move(how) {
    const now = Date.now();
    const [from, to] = this.#window ?? [now - this.#spanMs, now];
    const span = to - from;
    if (how === "whole") this.#look(null);
    else if (how === "in") this.#look([from + span / 4, to - span / 4]);
    else if (how === "earlier") this.#look([from - span / 2, to - span / 2]);
    else if (how === "later") this.#look(to + span / 2 >= now ? null : [from + span / 2, to + span / 2]);
  }

  /** @param {[number, number] | null} part */
  #look(part) {
    if (part && part[1] - part[0] < MIN_SPAN_MS) return;
    this.#window = part;
    this.#whole.setAttribute("aria-disabled", String(part === null));
    void this.#draw();
  }

  async #draw() {
    clearTimeout(this.#timer);
    if (!this.#isInView || document.hidden || this.#isDrawing) return;
    this.#isDrawing = true;
    let refreshMs = MAX_REFRESH_MS;
    try {
      const asked = this.#window;
      this.#library ??= await library(this.#section.dataset.script ?? "");
      const now = Date.now();
      const [from, to] = asked ?? [now - this.#spanMs, now];
      const [past, events] = await Promise.all([this.#history(from, to), this.#events(from, to)]);
      for (const figure of this.#figures) draw(this.#library, figure, past, events, (part) => this.#look(part));
      this.#section.dataset.drawn = String(Number(this.#section.dataset.drawn ?? 0) + 1);
      if (asked === null) refreshMs = Math.min(Math.max(past.step_ms, MIN_REFRESH_MS), MAX_REFRESH_MS);
      // The reader may have chosen again meanwhile.
      if (asked !== this.#window) refreshMs = 0;
      if (now - this.#tablesAt > TABLES_MS) await this.#renewTables();
    } catch {
      // The daemon is away, which the page says elsewhere: try again.
      refreshMs = MIN_REFRESH_MS;
    } finally {
      this.#isDrawing = false;
    }
    this.#timer = setTimeout(() => void this.#draw(), refreshMs);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {Promise<History>}
   */
  async #history(from, to) {
    const names = this.#figures.flatMap((figure) => traces(figure).map(([series]) => series));
    const query = new URLSearchParams({
      series: names.join(","),
      from: String(Math.round(from)),
      to: String(Math.round(to)),
      points: String(POINTS),
    });
    return json(`/api/v1/services/${encodeURIComponent(this.#service)}/history?${query}`);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {Promise<Event[]>}
   */
  async #events(from, to) {
    const query = new URLSearchParams({
      service: this.#service,
      from: String(Math.round(from)),
      to: String(Math.round(to)),
      limit: String(MAX_EVENTS),
    });
    return (await json(`/api/v1/events?${query}`)).lines;
  }

  /** The daemon renders the tables of each range, for pages with scripts and without. */
  async #renewTables() {
    this.#tablesAt = Date.now();
    const response = await fetch(location.pathname + location.search);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const figure of this.#figures) {
      const id = figure.querySelector("figcaption")?.id;
      const wanted = page.getElementById(id ?? "")?.parentElement?.querySelector("details");
      const present = figure.querySelector("details");
      if (wanted && present) morph(present, wanted);
    }
  }
}

/** @type {Promise<Library> | null} */
let loading = null;

/**
 * @param {string} address
 * @returns {Promise<Library>}
 */
function library(address) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      loading = null;
      reject(new Error("the charts' library cannot be loaded"));
    });
    document.head.append(script);
  });
  return loading;
}

/** @param {string} address */
async function json(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${response.status} for ${address}`);
  return response.json();
}

/**
 * The series of a figure with the words for them.
 * @param {HTMLElement} figure
 * @returns {[string, string][]}
 */
function traces(figure) {
  const named = (figure.dataset.series ?? "").split(",").map((part) => part.split(":"));
  return /** @type {[string, string][]} */ (named);
}

/**
 * @param {Library} plotly
 * @param {HTMLElement} figure
 * @param {History} past
 * @param {Event[]} events
 * @param {(part: [number, number] | null) => void} look
 */
function draw(plotly, figure, past, events, look) {
  const place = /** @type {any} */ (figure.querySelector(".plot"));
  const styles = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => styles.getPropertyValue(`--${name}`).trim();
  const wanted = traces(figure);
  const columns = wanted.map(([series]) => past.columns.find((column) => column.series === series));
  const top = Math.max(0, ...columns.flatMap((column) => column?.values ?? []).map((value) => value ?? 0));
  const [divisor, suffix] = unit(figure.dataset.unit ?? "", top);
  const times = Array.from({ length: past.points }, (_, i) => new Date(past.from_ms + i * past.step_ms));
  const lines = columns.map((column, i) => ({
    x: times,
    y: (column?.values ?? []).map((value) => (value === null ? null : value / divisor)),
    name: wanted[i][1],
    mode: "lines",
    line: { color: colour(`line-${i}`), width: 1.6 },
    hovertemplate: `%{y:.3~f}${suffix}`,
  }));
  const marks = {
    x: events.map((event) => new Date(event.time_ms)),
    y: events.map(() => 0),
    text: events.map((event) => escaped(event.text)),
    name: "",
    mode: "markers",
    marker: { color: colour("warn"), size: 7, symbol: "triangle-up" },
    hovertemplate: "%{text}",
    showlegend: false,
    cliponaxis: false,
  };
  const shapes = events.map((event) => ({
    type: "line",
    x0: new Date(event.time_ms),
    x1: new Date(event.time_ms),
    yref: "paper",
    y0: 0,
    y1: 1,
    line: { color: colour("warn"), width: 1, dash: "dot" },
    opacity: 0.5,
  }));
  const axis = { gridcolor: colour("line"), zeroline: false, linecolor: colour("line") };
  const layout = {
    height: 200,
    margin: { l: 64, r: 12, t: wanted.length > 1 ? 24 : 8, b: 36 },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: styles.getPropertyValue("--sans"), size: 11, color: colour("soft") },
    showlegend: wanted.length > 1,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemclick: false, itemdoubleclick: false },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("text") } },
    dragmode: "zoom",
    shapes,
    xaxis: { ...axis, type: "date", range: [times[0], new Date(past.from_ms + past.points * past.step_ms)] },
    yaxis: { ...axis, fixedrange: true, rangemode: "tozero", ticksuffix: suffix, nticks: 5, range: top > 0 ? undefined : [0, 1] },
  };
  plotly.react(place, [...lines, marks], layout, { displayModeBar: false, responsive: true, doubleClick: false });
  if (place.dataset.listens) return;
  place.dataset.listens = "true";
  place.on("plotly_relayout", (/** @type {Record<string, string>} */ change) => {
    const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (from && to) look([Date.parse(from), Date.parse(to)]);
  });
  place.on("plotly_doubleclick", () => look(null));
}

/**
 * @param {string} name
 * @param {number} top the largest value
 * @returns {[number, string]} by what to divide, and what to write behind the number
 */
function unit(name, top) {
  const steps = UNITS[name] ?? [[0, 1, ""]];
  const [, divisor, suffix] = steps.find(([from]) => top >= from) ?? [0, 1, ""];
  return [divisor, suffix];
}

/**
 * The library takes texts for markup of a few kinds.
 * @param {string} text
 */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "% {");
}
