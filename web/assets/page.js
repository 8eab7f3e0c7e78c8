// @ts-check
// The page's entry: connects the live stream with the tables, the orders and the console log.
// Without it the page still shows everything, as of when it was loaded.

import { Console } from "./console.js";
import { Live } from "./live.js";
import { morph } from "./morph.js";
import { announce, listenForOrders, noteStatuses } from "./orders.js";

/**
 * The element with that id, which the page always has.
 * @param {string} id
 * @returns {HTMLElement}
 */
function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

const tables = byId("tables");
const connection = byId("connection");
const log = new Console(byId("log"));

const WORDS = {
  live: "live",
  connecting: "connecting",
  lost: "connection lost, retrying",
  paused: "paused while hidden",
};

const live = new Live(() => log.cursor, {
  onState(state) {
    connection.dataset.state = state;
    const word = connection.querySelector(".word");
    if (word && word.textContent !== WORDS[state]) word.textContent = WORDS[state];
    document.body.classList.toggle("stale", state === "lost");
  },
  onTables(markup) {
    const template = document.createElement("template");
    template.innerHTML = markup;
    morph(tables, template.content);
    noteStatuses(tables);
  },
  onLog: (page) => log.add(page),
  onVersion(version) {
    // The daemon was replaced by another version: this page's scripts no longer fit.
    if (version !== document.documentElement.dataset.version) location.reload();
  },
});

noteStatuses(tables);
listenForOrders(tables, announce);
live.start();
