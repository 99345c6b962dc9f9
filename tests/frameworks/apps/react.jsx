import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import { serve } from "./app.js";

function App({ group, news, isThere, isLast, hear }) {
  const feed = <broadcast-feed key="feed" group={group} user="" write onbroadcast-message={hear} />;
  const others = [<p key="one">One</p>, <p key="two">Two</p>];
  return (
    <>
      {isThere && <broadcast-announcements group={news} timeout={0} />}
      {[!isLast && isThere && feed, ...others, isLast && isThere && feed]}
    </>
  );
}

const root = createRoot(document.getElementById("root"));
serve((state, hear) => flushSync(() => root.render(<App {...state} hear={hear} />)));
