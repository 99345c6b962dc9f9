import { entriesOf, keepEntries } from "./cookie.js";
import { onTold, tellAccount, tellTabs } from "./tabs.js";

/** The cookie in which this browser keeps what was dismissed: `<epoch>:<offset>.<offset>~<epoch>:…`. */
const NAME = "broadcast_dismissed";
const MOST_OFFSETS = 30;

/** Whether this browser dismissed it, on whichever page. */
export function isDismissed(epoch, offset) {
  return Boolean(entriesOf(NAME).get(epoch)?.split(".").includes(String(offset)));
}

/**
 * Dismisses one in all tabs of this browser, and on all pages that are to come; with an address, which pages of users have,
 * wherever that user reads.
 */
export function dismiss({ epoch, offset, group }, address) {
  const entries = entriesOf(NAME);
  const offsets = [...(entries.get(epoch)?.split(".") ?? []), offset].slice(-MOST_OFFSETS);
  entries.delete(epoch);
  keepEntries(NAME, entries.set(epoch, offsets.join(".")));
  tellTabs({ dismissed: { epoch, offset } });
  if (address) tellAccount(address, { epoch, offset: Number(offset), group });
}

/** Calls back for what is dismissed in another element or tab, until the signal ends it. */
export const onDismissed = (act, signal) => onTold("dismissed", act, signal);
