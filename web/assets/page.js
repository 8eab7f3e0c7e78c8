// @ts-check
// The entry of the live pages: connects the live stream with the tables, the orders, the log and, where a page has them,
// the charts and the form that tries methods. Without it a page still shows everything, as of when it was loaded.

import { Console } from "./console.js";
import { Grid } from "./grid.js";
import { Live } from "./live.js";
import { morph } from "./morph.js";
import { announce, closeMenus, listenForOrders, noteStatuses } from "./orders.js";

const connection = /** @type {HTMLElement} */ (document.getElementById("connection"));
const log = new Console(/** @type {HTMLElement} */ (document.getElementById("log")));
const grid = new Grid();

const WORDS = {
  live: "live",
  connecting: "connecting",
  lost: "connection lost, retrying",
  paused: "paused while hidden",
};

let isFirst = true;

/** The stream that belongs to this page's address. */
const address = location.pathname === "/" ? "/live" : `/live${location.pathname}`;

const live = new Live(address, () => log.cursor, {
  onState(state) {
    connection.dataset.state = state;
    const word = connection.querySelector(".word");
    if (word && word.textContent !== WORDS[state]) word.textContent = WORDS[state];
    document.body.classList.toggle("stale", state === "lost");
  },
  onParts(parts) {
    for (const [name, markup] of Object.entries(parts)) {
      const place = document.querySelector(`[data-part="${name}"]`);
      if (!place) continue;
      const template = document.createElement("template");
      template.innerHTML = markup;
      grid.arrange(template.content);
      morph(place, template.content);
    }
    noteStatuses();
    if (isFirst) void loadTheRest();
    isFirst = false;
  },
  onLog: (page) => log.add(page),
  onVersion(version) {
    // The daemon was replaced by another version: this page's scripts no longer fit.
    if (version !== document.documentElement.dataset.version) location.reload();
  },
});

/** What is heavy comes once the tables are live. */
async function loadTheRest() {
  const [charts, attempt] = [document.getElementById("charts"), document.getElementById("try")];
  if (charts) new (await import("./charts.js")).Charts(charts).start();
  if (attempt) new (await import("./try.js")).Attempt(attempt);
}

grid.start();
noteStatuses();
listenForOrders(announce);
closeMenus();
live.start();
