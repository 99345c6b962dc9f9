/** What has the focus, in whichever root it is. */
export function focused() {
  let active = document.activeElement;
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
  return active;
}

/** The nearest that matches, around it, out of all roots; itself perhaps. */
export function around(element, selector) {
  for (let each = element; each; each = each.getRootNode().host) {
    const found = each.closest(selector);
    if (found) return found;
  }
  return null;
}
