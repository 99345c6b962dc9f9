import "@hotwired/turbo";
import { byParts } from "./parts.js";

byParts(async (address) => {
  const frame = document.getElementById("root");
  frame.src = address;
  await frame.loaded;
});
