import { entriesOf, keepEntries } from "./cookie.js";
import { onTold, tellAccount, tellTabs } from "./tabs.js";

/**
 * What was read: up to which offset of each epoch. Of users their account keeps it, of guests this browser, in a cookie:
 * `<epoch>:<offset>~<epoch>:<offset>`.
 */
const NAME = "broadcast_read";

/** Up to where this browser's guest has read in an epoch. */
export function readUpTo(epoch) {
  return Number(entriesOf(NAME).get(epoch) ?? 0);
}

/** Marks what is up to these places as read, in all tabs; with an address, which pages of users have, by account. */
export function markRead(places, address) {
  if (!places.length) return;
  if (address) tellAccount(address, { groups: places });
  else remember(places);
  tellTabs({ read: places });
}

/** Calls back with the places up to which another element or tab has marked as read, until the signal ends it. */
export const onRead = (act, signal) => onTold("read", act, signal);

function remember(places) {
  const entries = entriesOf(NAME);
  for (const { epoch, offset } of places) {
    const furthest = Math.max(offset, Number(entries.get(epoch) ?? 0));
    entries.delete(epoch);
    entries.set(epoch, furthest);
  }
  keepEntries(NAME, entries);
}
