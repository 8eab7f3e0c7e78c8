// @ts-check
// Makes an element's content equal to new markup by changing what differs and nothing else: focus,
// selection, scroll positions and opened details stay. Elements with `data-key` are matched by it, so
// that a row that moves remains itself.

/** Attributes that belong to the reader, not to the daemon. */
const READERS_OWN = new Set(["open"]);

/**
 * @param {Element} element whose children change
 * @param {ParentNode & Node} wanted whose children it gets; used up
 */
export function morph(element, wanted) {
  /** @type {Map<string, Element>} */
  const keyed = new Map();
  for (const child of element.children) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  /** @type {ChildNode | null} */
  let here = element.firstChild;
  for (const next of [...wanted.childNodes]) {
    const match = matching(here, next, keyed);
    if (!match) {
      element.insertBefore(next, here);
      continue;
    }
    if (match !== here) element.insertBefore(match, here);
    here = match.nextSibling;
    update(match, next);
  }
  while (here) {
    const gone = here;
    here = here.nextSibling;
    gone.remove();
  }
}

/**
 * The node that becomes `next`: the one with its key, or the one in its place if that is of its kind.
 * @param {ChildNode | null} here
 * @param {ChildNode} next
 * @param {Map<string, Element>} keyed
 * @returns {ChildNode | null}
 */
function matching(here, next, keyed) {
  const key = keyOf(next);
  if (key !== null) {
    const match = keyed.get(key);
    return match && match.nodeName === next.nodeName ? match : null;
  }
  return here && here.nodeName === next.nodeName && keyOf(here) === null ? here : null;
}

/**
 * @param {ChildNode} node
 * @param {ChildNode} wanted of the same kind
 */
function update(node, wanted) {
  if (!(node instanceof Element) || !(wanted instanceof Element)) {
    if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name, value } of wanted.attributes) {
    if (!READERS_OWN.has(name) && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const { name } of [...node.attributes]) {
    if (!READERS_OWN.has(name) && !wanted.hasAttribute(name)) node.removeAttribute(name);
  }
  morph(node, wanted);
}

/**
 * @param {Node} node
 * @returns {string | null}
 */
function keyOf(node) {
  return node instanceof Element ? node.getAttribute("data-key") : null;
}
