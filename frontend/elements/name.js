const KEY = "broadcast.name";
const INVISIBLE = /[\p{Cf}\p{Cc}\p{Mn}\p{Z}]/gu;

const isServers = (name) => name.normalize("NFKC").replace(INVISIBLE, "").toLowerCase() === "server";

/** The name a guest writes under: given at first, then the guest's own choice, remembered where the browser lets us. */
export class GuestName {
  constructor(text, { storage = () => localStorage, random = Math.random } = {}) {
    Object.assign(this, { text, storage });
    this.value = this.#remembered() ?? text("guest_name", 1 + Math.floor(random() * 999));
    this.#remember();
  }

  /** Takes another name; a blank one changes nothing. */
  change(name) {
    const wanted = name.trim();
    if (isServers(wanted)) return this.text("reserved");
    if (wanted) this.value = wanted;
    this.#remember();
    return "";
  }

  #remembered() {
    try {
      return this.storage().getItem(KEY) || null;
    } catch {
      return null;
    }
  }

  #remember() {
    try {
      this.storage().setItem(KEY, this.value);
    } catch {
      // Then it lasts as long as the page.
    }
  }
}
