/**
 * The box in which a message is written, and what is to be said about it. `send(message)` returns why it cannot, or
 * nothing; `name` is null where the author is signed in; `maxBody()` is how many characters a message may have.
 */
export class Composer {
  constructor(form, { text, maxBody, name, send }) {
    Object.assign(this, { form, text, maxBody, name, send });
    this.box = form.elements.body;
    this.nameBox = form.elements.author;
    this.notice = form.querySelector("[data-notice]");
    this.counter = form.querySelector("[data-counter]");
    form.addEventListener("submit", (event) => this.#submit(event));
    this.box.addEventListener("keydown", (event) => this.#pressed(event));
    this.box.addEventListener("input", () => this.#measure());
    if (name) {
      this.nameBox.value = name.value;
      this.nameBox.addEventListener("change", () => this.#rename());
    }
    this.#measure();
  }

  /** Says a sentence under the box; an empty one takes the last back. */
  say(sentence) {
    this.notice.textContent = sentence;
  }

  /** Whether the box can take a text back without losing another. */
  get isEmpty() {
    return this.box.value.trim() === "";
  }

  /** Puts a text back into the box, before what stands there. */
  restore(text) {
    this.box.value = this.isEmpty ? text : `${text}\n${this.box.value}`;
    this.#measure();
  }

  focus() {
    this.box.focus();
  }

  #pressed(event) {
    // Safari ends an IME composition before its Enter arrives, and marks that Enter with 229 only.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    this.focus();
    if (this.isEmpty || !this.#rename()) return;
    const problem = this.#surplus() > 0 ? this.#tooLong() : this.send(this.#message());
    if (!problem) this.box.value = "";
    this.#measure();
    this.say(problem);
  }

  #message() {
    const body = this.box.value.trimEnd();
    return this.name ? { body, author: this.name.value } : { body };
  }

  #rename() {
    const problem = this.name?.change(this.nameBox.value) ?? "";
    this.say(problem);
    if (this.nameBox) mark(this.nameBox, problem !== "");
    if (problem) this.nameBox.focus();
    else if (this.name) this.nameBox.value = this.name.value;
    return problem === "";
  }

  // Characters as the server counts them: code points, not UTF-16 units.
  #surplus() {
    return [...this.box.value.trimEnd()].length - this.maxBody();
  }

  #tooLong() {
    return this.text("surplus", this.#surplus());
  }

  #measure() {
    const surplus = this.#surplus();
    this.counter.textContent = surplus > -this.maxBody() / 10 ? String(-surplus) : "";
    mark(this.box, surplus > 0);
    this.say(surplus > 0 ? this.#tooLong() : "");
  }
}

/** Marks what will not do. What does has no mark: some style sheets give it one of their own. */
function mark(box, isInvalid) {
  if (isInvalid) box.setAttribute("aria-invalid", "true");
  else box.removeAttribute("aria-invalid");
}
