// @ts-check
// Sorting of tables by their headings, and finding of services by name and state. What the reader chose is applied to each
// new piece of markup before it replaces the old one, so that rows do not jump.

/** @typedef {{column: string, isDescending: boolean}} Order */

export class Grid {
  /** @type {Map<string, Order>} by the table's section */
  #orders = new Map();
  /** @type {HTMLInputElement | null} */
  #find = document.querySelector("#find");
  /** @type {HTMLSelectElement | null} */
  #show = document.querySelector("#show");

  start() {
    this.arrange(document);
    document.addEventListener("click", (event) => {
      const button = /** @type {Element} */ (event.target).closest("th[data-sort] button");
      if (button) this.#sortBy(/** @type {HTMLElement} */ (button.closest("th")));
    });
    if (!this.#find || !this.#show) return;
    /** @type {HTMLElement} */ (this.#find.closest(".finder")).hidden = false;
    this.#find.addEventListener("input", () => this.arrange(document));
    this.#show.addEventListener("change", () => this.arrange(document));
    document.addEventListener("keydown", (event) => this.#findByKey(event));
  }

  /**
   * Puts tables into the reader's order and hides what was not asked for.
   * @param {ParentNode} root
   */
  arrange(root) {
    for (const section of root.querySelectorAll("section[data-key]")) {
      const table = section.querySelector("table");
      if (table) this.#arrangeTable(table, this.#orders.get(section.id));
    }
    this.#filter(root);
  }

  /** @param {HTMLElement} heading */
  #sortBy(heading) {
    const section = heading.closest("section");
    const column = heading.dataset.sort;
    if (!section || !column) return;
    const before = this.#orders.get(section.id);
    // Names begin at their first, numbers at their largest; a third click returns to the order of the daemon.
    const first = heading.classList.contains("number");
    if (before?.column !== column) this.#orders.set(section.id, { column, isDescending: first });
    else if (before.isDescending === first) this.#orders.set(section.id, { column, isDescending: !first });
    else this.#orders.delete(section.id);
    const table = section.querySelector("table");
    if (table) this.#arrangeTable(table, this.#orders.get(section.id));
  }

  /**
   * @param {HTMLTableElement} table
   * @param {Order | undefined} order
   */
  #arrangeTable(table, order) {
    const headings = /** @type {HTMLElement[]} */ ([...table.querySelectorAll("thead th")]);
    for (const heading of headings) {
      if (!heading.dataset.sort) continue;
      if (!heading.querySelector("button")) wrap(heading);
      const isChosen = heading.dataset.sort === order?.column;
      if (isChosen) heading.setAttribute("aria-sort", order.isDescending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    const body = table.tBodies[0];
    const rows = [...body.rows];
    // The daemon's own order, for when the reader wants none.
    rows.forEach((row, index) => (row.dataset.place ??= String(index)));
    const index = headings.findIndex((heading) => heading.dataset.sort === order?.column);
    const key = (/** @type {HTMLTableRowElement} */ row) => row.cells[index]?.dataset.value;
    const sorted = rows.toSorted((a, b) => {
      const places = Number(a.dataset.place) - Number(b.dataset.place);
      return index < 0 || !order ? places : compare(key(a), key(b), order.isDescending) || places;
    });
    if (sorted.some((row, place) => row !== rows[place])) body.append(...sorted);
  }

  /** @param {ParentNode} root */
  #filter(root) {
    const rows = /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("table.services tbody tr"));
    if (rows.length === 0 || !this.#find || !this.#show) return;
    const text = this.#find.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const words = (row.querySelector(".name")?.textContent ?? "").toLowerCase();
      row.hidden = !words.includes(text) || !isIn(row, this.#show.value);
      if (!row.hidden) shown += 1;
    }
    const none = root.querySelector("#services-none");
    if (none) none.toggleAttribute("hidden", shown > 0);
  }

  /** @param {KeyboardEvent} event */
  #findByKey(event) {
    const isTyping = /** @type {Element} */ (event.target).closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#find?.focus();
  }
}

/**
 * @param {HTMLElement} row
 * @param {string} wanted
 */
function isIn(row, wanted) {
  const status = row.dataset.status ?? "";
  if (wanted === "failing") return row.dataset.failing !== undefined;
  if (wanted === "stopped") return status === "stopped" || status === "exited";
  return wanted === "" || status === wanted;
}

/** @param {HTMLElement} heading */
function wrap(heading) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
}

/**
 * What has no value stands last, whichever the order.
 * @param {string | undefined} a
 * @param {string | undefined} b
 * @param {boolean} isDescending
 */
function compare(a, b, isDescending) {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const [x, y] = [Number(a), Number(b)];
  const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  return isDescending ? -order : order;
}
