const TIME = { hour: "numeric", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };

const formats = {
  today: new Intl.DateTimeFormat(undefined, TIME),
  earlier: new Intl.DateTimeFormat(undefined, { ...DAY, ...TIME }),
  longAgo: new Intl.DateTimeFormat(undefined, { ...DAY, year: "numeric" }),
  full: new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" }),
};

function formatFor(moment, now) {
  if (moment.toDateString() === now.toDateString()) return formats.today;
  return moment.getFullYear() === now.getFullYear() ? formats.earlier : formats.longAgo;
}

/** Shows the moment of a `<time datetime>` as its reader writes it; in full when pointed at. */
export function localise(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  element.textContent = formatFor(moment, new Date()).format(moment);
  element.title = formats.full.format(moment);
}
