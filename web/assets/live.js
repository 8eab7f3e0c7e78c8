// @ts-check
// The stream of events from the daemon: opened while the page can be seen, closed while it is hidden,
// opened again by itself when it breaks or falls silent.

/**
 * @typedef {{cursor: number, time_ms: number, service: string, pid: number | null, tint: number | null, stream: string, level: number, pieces: {style: string, text: string}[]}} Line
 * @typedef {{lines: Line[], missed_lines: number}} LogPage
 * @typedef {"live" | "connecting" | "lost" | "paused"} State
 * @typedef {object} Listener
 * @property {(state: State) => void} onState
 * @property {(parts: Record<string, string>) => void} onParts markup of what has changed
 * @property {(page: LogPage) => void} onLog
 * @property {(version: string) => void} onVersion
 */

/** The daemon speaks once a second; so long a silence means that the connection is dead. */
const SILENCE_MS = 6000;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 5000;

export class Live {
  /** @type {EventSource | null} */
  #source = null;
  #retryMs = RETRY_FIRST_MS;
  /** @type {number | undefined} */
  #timer;
  #address;
  #cursor;
  #listener;

  /**
   * @param {string} address where this page's stream is
   * @param {() => number | null} cursor the last log line that the page has
   * @param {Listener} listener
   */
  constructor(address, cursor, listener) {
    this.#address = address;
    this.#cursor = cursor;
    this.#listener = listener;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.#follow());
    addEventListener("pageshow", () => this.#follow());
    addEventListener("pagehide", () => this.#close());
    addEventListener("online", () => this.#retryNow());
    this.#follow();
  }

  #follow() {
    if (document.hidden) {
      this.#close();
      this.#listener.onState("paused");
    } else if (!this.#source) {
      this.#open("connecting");
    }
  }

  #retryNow() {
    if (!document.hidden && this.#source?.readyState !== EventSource.OPEN) {
      this.#close();
      this.#open("lost");
    }
  }

  /** @param {State} state what to show until something arrives */
  #open(state) {
    this.#listener.onState(state);
    const cursor = this.#cursor();
    const source = new EventSource(cursor === null ? this.#address : `${this.#address}?after=${cursor}`);
    this.#source = source;
    /**
     * @param {string} name
     * @param {(data: string) => void} handle
     */
    const on = (name, handle) =>
      source.addEventListener(name, (event) => {
        this.#alive();
        handle(/** @type {MessageEvent<string>} */ (event).data);
      });
    on("version", this.#listener.onVersion);
    on("parts", (data) => this.#listener.onParts(JSON.parse(data)));
    on("log", (data) => this.#listener.onLog(JSON.parse(data)));
    source.addEventListener("error", () => this.#lost());
    this.#watch(SILENCE_MS);
  }

  #alive() {
    this.#retryMs = RETRY_FIRST_MS;
    this.#listener.onState("live");
    this.#watch(SILENCE_MS);
  }

  /** The browser's own retrying forgets the cursor of a page that was reloaded: ours does not. */
  #lost() {
    this.#close();
    if (document.hidden) return;
    this.#listener.onState("lost");
    this.#timer = setTimeout(() => this.#open("lost"), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** @param {number} afterMs */
  #watch(afterMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(), afterMs);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
