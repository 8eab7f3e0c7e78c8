// @ts-check
// The console log and the events: newest lines at the bottom, a bounded number of them, filtered by service, level and text,
// followed unless the reader has scrolled up, paused on demand. Texts come harmless from the daemon and
// are inserted as text, never as markup.

/** @import { Line, LogPage } from "./live.js" */

/** Lines kept in the page; older ones go. */
const MAX_LINES = 2000;
/** So near to the end, in pixels, a reader is taken to be at the end. */
const NEAR_PX = 24;
/** A scroll that was under way when the reader asked for the newest lines has ended after so many milliseconds. */
const SCROLL_MS = 500;

const DATE = new Intl.DateTimeFormat("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

export class Console {
  /** @type {number | null} the newest line that the page has */
  cursor = null;
  #lines;
  #empty;
  #newest;
  /** @type {HTMLSelectElement | null} where lines of several services stand */
  #service;
  /** @type {HTMLSelectElement | null} where lines have levels */
  #level;
  #text;
  #pause;
  /** @type {(Line | number)[]} lines, and numbers of lines missed, that wait while paused */
  #waiting = [];
  #isFollowing = true;
  /** Until when scrolling is not the reader's wish. */
  #returnsUntil = 0;

  /** @param {HTMLElement} section */
  constructor(section) {
    /** @type {<T extends HTMLElement>(id: string) => T} */
    const part = (id) => /** @type {any} */ (section.querySelector(`#${id}`));
    this.#lines = part("log-lines");
    this.#empty = part("log-empty");
    this.#newest = /** @type {HTMLButtonElement} */ (part("log-newest"));
    this.#service = section.querySelector("#log-service");
    this.#level = section.querySelector("#log-level");
    this.#text = /** @type {HTMLInputElement} */ (part("log-text"));
    this.#pause = /** @type {HTMLButtonElement} */ (part("log-pause"));
    const cursor = this.#lines.dataset.cursor;
    this.cursor = cursor === undefined ? null : Number(cursor);
    for (const time of this.#lines.querySelectorAll("time")) {
      setTime(time, new Date(time.dateTime));
    }
    this.#lines.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    this.#newest.addEventListener("click", () => this.#return());
    this.#service?.addEventListener("change", () => this.#filter());
    this.#level?.addEventListener("change", () => this.#filter());
    this.#text.addEventListener("input", () => this.#filter());
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#isPaused));
    part("log-clear").addEventListener("click", () => this.#clear());
    /** @type {HTMLElement} */ (section.querySelector(".tools")).hidden = false;
    this.#follow();
  }

  get #isPaused() {
    return this.#pause.getAttribute("aria-pressed") === "true";
  }

  /** @param {LogPage} page */
  add(page) {
    const last = page.lines.at(-1);
    if (last) this.cursor = last.cursor;
    /** @type {(Line | number)[]} */
    const news = page.missed_lines > 0 ? [page.missed_lines, ...page.lines] : page.lines;
    if (this.#isPaused) {
      this.#waiting = this.#waiting.concat(news).slice(-MAX_LINES);
      this.#pause.textContent = `Resume (${this.#waiting.length} new)`;
    } else {
      this.#show(news);
    }
  }

  /** @param {(Line | number)[]} news */
  #show(news) {
    const fragment = document.createDocumentFragment();
    for (const one of news.slice(-MAX_LINES)) {
      const element = typeof one === "number" ? missed(one) : rendered(one);
      element.hidden = !this.#matches(element);
      fragment.append(element);
    }
    this.#lines.append(fragment);
    const surplus = this.#lines.childElementCount - MAX_LINES;
    if (surplus > 0) {
      const range = document.createRange();
      range.setStartBefore(/** @type {Element} */ (this.#lines.children[0]));
      range.setEndAfter(/** @type {Element} */ (this.#lines.children[surplus - 1]));
      range.deleteContents();
    }
    this.#settle();
  }

  /** @param {HTMLElement} line */
  #matches(line) {
    const service = this.#service?.value ?? "";
    const level = Number(this.#level?.value ?? 0);
    const text = this.#text.value.toLowerCase();
    return (
      (service === "" || line.dataset.service === service) &&
      Number(line.dataset.level ?? 4) >= level &&
      (text === "" || (line.textContent ?? "").toLowerCase().includes(text))
    );
  }

  #filter() {
    for (const line of this.#lines.children) {
      /** @type {HTMLElement} */ (line).hidden = !this.#matches(/** @type {HTMLElement} */ (line));
    }
    this.#settle();
  }

  #clear() {
    this.#lines.replaceChildren();
    this.#settle();
  }

  /** @param {boolean} isPaused */
  #setPaused(isPaused) {
    this.#pause.setAttribute("aria-pressed", String(isPaused));
    this.#pause.textContent = isPaused ? "Resume" : "Pause";
    if (!isPaused) this.#show(this.#waiting.splice(0));
  }

  #noteScroll() {
    if (performance.now() < this.#returnsUntil) return this.#settle();
    const { scrollTop, scrollHeight, clientHeight } = this.#lines;
    this.#isFollowing = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#newest.hidden = this.#isFollowing;
  }

  #follow() {
    this.#isFollowing = true;
    this.#settle();
  }

  /** Keys scroll smoothly, and the browser carries on with that from wherever it has been put. */
  #return() {
    this.#returnsUntil = performance.now() + SCROLL_MS;
    this.#follow();
  }

  #settle() {
    const isEmpty = !this.#lines.querySelector(":scope > :not([hidden])");
    this.#empty.hidden = !isEmpty;
    this.#empty.textContent = this.#lines.childElementCount > 0 ? "No line matches." : "Nothing new has been printed.";
    if (this.#isFollowing) {
      this.#lines.scrollTop = this.#lines.scrollHeight;
      this.#newest.hidden = true;
    }
  }
}

/**
 * The same elements as the daemon renders into the page.
 * @param {Line} line
 */
function rendered(line) {
  const element = document.createElement("div");
  element.className = "line";
  element.dataset.stream = line.stream;
  element.dataset.service = line.service;
  element.dataset.level = String(line.level);
  const date = new Date(line.time_ms);
  const time = document.createElement("time");
  setTime(time, date);
  const service = document.createElement("span");
  service.className = "service";
  if (line.tint !== null) service.dataset.tint = String(line.tint);
  if (line.pid !== null) service.title = `pid ${line.pid}`;
  service.textContent = line.service;
  const text = document.createElement("span");
  text.className = "text";
  for (const piece of line.pieces) {
    if (piece.style === "") {
      text.append(piece.text);
      continue;
    }
    const part = document.createElement("span");
    part.className = piece.style;
    part.textContent = piece.text;
    text.append(part);
  }
  element.append(time, service, text);
  return element;
}

/**
 * The reader's own time; the date is shown where lines of many days stand.
 * @param {HTMLTimeElement} time
 * @param {Date} date
 */
function setTime(time, date) {
  const day = document.createElement("span");
  day.className = "date";
  day.textContent = `${DATE.format(date)} `;
  time.dateTime = date.toISOString();
  time.replaceChildren(day, CLOCK.format(date));
}

/** @param {number} count */
function missed(count) {
  const element = document.createElement("div");
  element.className = "line missed";
  element.textContent = `${count.toLocaleString("en-GB")} lines were printed faster than they could be shown`;
  return element;
}
