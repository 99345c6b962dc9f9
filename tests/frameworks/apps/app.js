/**
 * What every app here does: it shows a feed and announcements as its framework would, and a test turns it by
 * `app.render({group, news, isThere, isLast})`. What the framework hears of the elements' events is in `app.heard`.
 */
export function serve(render) {
  const heard = [];
  const hear = ({ detail }) => heard.push(detail.body);
  const turn = async (state) => {
    await inTime(render({ group: "", news: "", isThere: true, isLast: false, ...state }, hear));
    await new Promise((resolve) => setTimeout(resolve));
  };
  globalThis.app = {
    heard,
    render: turn,
    /** Mounts and unmounts a number of times. */
    async turns(count, state) {
      for (let i = 0; i < count; i++) {
        await turn(state);
        await turn({ ...state, isThere: false });
      }
    },
  };
}

async function inTime(rendered) {
  const { promise, reject } = Promise.withResolvers();
  const timer = setTimeout(() => reject(new Error("The framework has not rendered.")), 10_000);
  await Promise.race([rendered, promise]);
  clearTimeout(timer);
}
