import { serve } from "./app.js";

const root = document.getElementById("root");
root.append(document.createElement("p"), document.createElement("p"));
const feed = () => root.querySelector("broadcast-feed");
const announcements = () => root.querySelector("broadcast-announcements");

/** The first time by properties, also before the element is defined; later by the attribute, if there is a value. */
function make({ group, news }, hear) {
  const made = Object.assign(document.createElement("broadcast-feed"), { group, user: "", write: true });
  made.addEventListener("broadcast-message", hear);
  root.prepend(Object.assign(document.createElement("broadcast-announcements"), { group: news, timeout: 0 }), made);
}

function change({ group, isLast }) {
  if (group === undefined) feed().group = group;
  else if (feed().getAttribute("group") !== group) feed().setAttribute("group", group);
  if (isLast === (feed() === root.lastElementChild)) return;
  const move = root.moveBefore ? (node, before) => root.moveBefore(node, before) : (node, before) => root.insertBefore(node, before);
  move(feed(), isLast ? null : announcements().nextSibling);
}

serve((state, hear) => {
  if (!state.isThere) [feed(), announcements()].forEach((element) => element?.remove());
  else if (feed()) change(state);
  else make(state, hear);
});
