// @ts-check
// Orders to services by the buttons: asked about where they interrupt, offered to be undone where they can be, and told
// of in words that a screen reader speaks. The buttons are forms that work without this; with it the page stays where it is.

const NOTICE_MS = 10000;

/** @type {Map<string, string>} the last known status of each service */
const statuses = new Map();
/** @type {Set<string>} services that were given an order here, whose changes are worth a word */
const ordered = new Set();

/**
 * @param {(text: string, isError?: boolean, undo?: () => void) => void} tell
 */
export function listenForOrders(tell) {
  document.addEventListener("submit", async (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = form.querySelector("button");
    if (form.method !== "post" || !button?.dataset.service) return;
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") return;
    const { question, undo, service, action = "order" } = button.dataset;
    const words = button.textContent?.trim() ?? action;
    const address = form.action;
    form.closest("details")?.removeAttribute("open");
    if (question && !(await isSure(question, button))) return;
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-busy", "true");
    const isTaken = await give(address, service, words, tell);
    // The next tables say what the button does from now on.
    button.removeAttribute("aria-busy");
    if (!isTaken) button.removeAttribute("aria-disabled");
    else tell(`${words}: ordered`, false, undo ? () => void give(undo, service, `undo of ${words}`, tell) : undefined);
  });
}

/**
 * Gives an order and says so if it is not taken.
 * @param {string} address
 * @param {string} service
 * @param {string} words
 * @param {(text: string, isError?: boolean) => void} tell
 */
async function give(address, service, words, tell) {
  ordered.add(service);
  try {
    const response = await fetch(address, { method: "POST", headers: { accept: "application/json" } });
    if (!response.ok) tell(await problemIn(response), true);
    return response.ok;
  } catch {
    tell(`${words}: the daemon cannot be reached`, true);
    return false;
  }
}

/** @type {(isSure: boolean) => void} answers the question that was asked last */
let answer = () => {};

/**
 * Asks in the page's dialog; the focus returns to the button by itself. Browsers tell of a closed dialog with the next
 * frame: it may have been opened again by then, for another question.
 * @param {string} question
 * @param {HTMLButtonElement} button
 * @returns {Promise<boolean>}
 */
function isSure(question, button) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("question"));
  const text = /** @type {HTMLElement} */ (document.getElementById("question-text"));
  const yes = /** @type {HTMLElement} */ (document.getElementById("question-yes"));
  answer(false);
  text.textContent = question;
  yes.textContent = button.firstChild?.textContent ?? "Yes";
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (!dialog.open) answer(dialog.returnValue === "yes");
  };
  dialog.showModal();
  return new Promise((resolve) => {
    answer = resolve;
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

/** Menus close when one looks elsewhere, or by Escape, which returns to what opened them. */
export function closeMenus() {
  const others = (/** @type {Node | null} */ kept) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!kept || !menu.contains(kept)) menu.removeAttribute("open");
    }
  };
  document.addEventListener("pointerdown", (event) => others(/** @type {Node} */ (event.target)));
  document.addEventListener("focusin", (event) => others(/** @type {Node} */ (event.target)));
  document.addEventListener("keydown", (event) => {
    const menu = /** @type {Element} */ (event.target).closest("details.menu[open]");
    if (event.key !== "Escape" || !menu) return;
    menu.removeAttribute("open");
    menu.querySelector("summary")?.focus();
  });
}

/** Speaks of what changed since the last time: of services ordered about here, and of any that fail. */
export function noteStatuses() {
  for (const element of document.querySelectorAll("table.services tbody tr, .service-head, .gone")) {
    const { key = "", service, status = "" } = /** @type {HTMLElement} */ (element).dataset;
    const name = service ?? key;
    const before = statuses.get(name);
    statuses.set(name, status);
    if (before === undefined || before === status) continue;
    const isBad = status === "fatal" || status === "backoff" || status === "gone";
    if (isBad || ordered.has(name)) announce(`${name}: ${status}`, isBad);
    if (status === "running" || status === "stopped") ordered.delete(name);
  }
}

/**
 * Shows a line for a while, longer while somebody is at it.
 * @param {string} text
 * @param {boolean} [isError]
 * @param {() => void} [undo]
 */
export function announce(text, isError = false, undo) {
  const notices = document.getElementById("notices");
  if (!notices) return;
  const notice = document.createElement("p");
  notice.textContent = text;
  if (isError) notice.dataset.bad = "true";
  if (undo) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "undo";
    button.textContent = "Undo";
    button.addEventListener("click", () => {
      notice.remove();
      undo();
    });
    notice.append(" ", button);
  }
  notices.append(notice);
  while (notices.childElementCount > 4) notices.firstElementChild?.remove();
  const go = () => (notice.matches(":hover, :focus-within") ? setTimeout(go, 1000) : notice.remove());
  setTimeout(go, NOTICE_MS);
}
