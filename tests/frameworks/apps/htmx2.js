import htmx from "htmx.org/dist/htmx.esm.js";
import { byParts } from "./parts.js";

byParts((address) => htmx.ajax("GET", address, { target: "#root", swap: "innerHTML" }));
