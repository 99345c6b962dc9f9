import { Chat } from "./chat.js";

for (const root of document.querySelectorAll("[data-broadcast-chat]")) new Chat(root);
