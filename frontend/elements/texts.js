// What the elements say. The tags put what another language says instead into the attribute `texts`.

export const LEVELS = {
  info: "Information",
  success: "Success",
  warning: "Warning",
  error: "Error",
};

export const ANNOUNCEMENTS = {
  announcements: "Announcements",
  dismiss_one: "Dismiss: {n}",
  more: "{n} more",
  clear: "Dismiss all",
};

export const BELL = {
  notifications: "Notifications",
  notified: "Notifications, {n} new",
  nothing: "No notifications yet.",
  unread: "New",
  mark: "Mark all as read",
};

export const FEED = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting",
  closed: "Disconnected.",
  seconds: "in {n} s",
  retry: "Connect now",
  messages: "Messages",
  news: "New messages",
  jump: "New messages: {n}",
  empty: "No messages yet.",
  gap: "Some messages are no longer available",
  guest: "guest",
  server: "announcement",
  pending: "On their way",
  unsent: "Not sent yet",
  again: "Edit and send again",
  name: "Your name",
  guest_name: "Guest {n}",
  reserved: "“Server” is the name of the site itself. Please choose another.",
  as: "Writing as",
  message: "Message",
  write: "Write a message",
  send: "Send",
  keys: "Enter sends, Shift + Enter starts a new line.",
  surplus: "The message is too long by {n}.",
  refused: "Not sent: {n}",
  changed: "You have signed in or out meanwhile. Reload the page to go on.",
};

/** What an element says, by name: its own texts, or those that it is told. Such as cannot be read count as left out. */
export function textsOf(element, own = element.constructor.texts) {
  const texts = { ...own, ...told(element) };
  return (name, n) => texts[name].replace("{n}", () => n);
}

function told(element) {
  const json = element.getAttribute("texts");
  try {
    return json && Object.fromEntries(Object.entries(JSON.parse(json)).filter(([, text]) => typeof text === "string"));
  } catch {
    console.error(`<${element.localName}>: texts must be a JSON object; it came as ${json.slice(0, 80)}`);
  }
}
