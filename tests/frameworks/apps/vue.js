import { createApp, nextTick, reactive } from "vue/dist/vue.esm-bundler.js";
import { serve } from "./app.js";

const state = reactive({ isThere: false });
const app = createApp({
  setup: () => ({ state }),
  template: `
    <broadcast-announcements v-if="state.isThere" :group="state.news" :timeout="0" />
    <template v-for="name in state.names" :key="name">
      <broadcast-feed v-if="name === 'feed'" :group="state.group" user="" write @broadcast-message="state.hear" />
      <p v-else>{{ name }}</p>
    </template>`,
});
app.config.compilerOptions.isCustomElement = (tag) => tag.startsWith("broadcast-");
app.mount("#root");

serve(async (given, hear) => {
  const { isThere, isLast } = given;
  const names = [...(isThere && !isLast ? ["feed"] : []), "one", "two", ...(isThere && isLast ? ["feed"] : [])];
  Object.assign(state, { ...given, group: given.group, names, hear });
  await nextTick();
});
