// @ts-check
// Starting and stopping services by the buttons, and telling how it goes in words that a screen reader
// speaks. The buttons are forms that work without this; with it the page stays where it is.

const NOTICE_MS = 8000;

/** @type {Map<string, string>} the last known status of each service */
const statuses = new Map();
/** @type {Set<string>} services that were given an order here, whose changes are worth a word */
const ordered = new Set();

/**
 * @param {HTMLElement} tables
 * @param {(text: string, isError?: boolean) => void} tell
 */
export function listenForOrders(tables, tell) {
  tables.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = form.querySelector("button");
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    const service = button.dataset.service ?? "";
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-busy", "true");
    ordered.add(service);
    try {
      const response = await fetch(form.action, { method: "POST", headers: { accept: "application/json" } });
      if (!response.ok) tell(await problemIn(response), true);
    } catch {
      tell(`${button.dataset.action} ${service}: the daemon cannot be reached`, true);
    }
    // The next tables say what the button does from now on.
    button.removeAttribute("aria-busy");
  });
}

/** @param {Response} response */
async function problemIn(response) {
  try {
    return String((await response.json()).detail);
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

/**
 * Speaks of what changed since the last time: of services ordered about here, and of any that fail.
 * @param {HTMLElement} tables
 */
export function noteStatuses(tables) {
  for (const row of tables.querySelectorAll("table.services tbody tr")) {
    const { key: name = "", status = "" } = /** @type {HTMLElement} */ (row).dataset;
    const before = statuses.get(name);
    statuses.set(name, status);
    if (before === undefined || before === status) continue;
    const isBad = status === "fatal" || status === "backoff";
    if (isBad || ordered.has(name)) announce(`${name}: ${status}`, isBad);
    if (status === "running" || status === "stopped") ordered.delete(name);
  }
}

/**
 * Shows a line for a while.
 * @param {string} text
 * @param {boolean} [isError]
 */
export function announce(text, isError = false) {
  const notices = document.getElementById("notices");
  if (!notices) return;
  const notice = document.createElement("p");
  notice.textContent = text;
  if (isError) notice.dataset.bad = "true";
  notices.append(notice);
  while (notices.childElementCount > 4) notices.firstElementChild?.remove();
  setTimeout(() => notice.remove(), NOTICE_MS);
}
