import { flushSync, mount } from "svelte";
import App from "./App.svelte";
import { serve } from "./app.js";

const state = $state({ isThere: false });
mount(App, { target: document.getElementById("root"), props: { state } });

serve((given, hear) => {
  Object.assign(state, given, { hear });
  flushSync();
});
