import htmx from "htmx.org/dist/htmx.esm.js";
import { byParts } from "./parts.js";

