// The elements in React's JSX.
import type {} from "django-live-broadcast/react";

export const page = (
  <main>
    <broadcast-announcements as="banner" position="top" max={2} />
    <broadcast-feed group="lobby" write maxBody={100} className="chat" onbroadcast-message={({ detail }) => console.log(detail.body)} />
  </main>
);

// @ts-expect-error: a number of characters
export const wrong = <broadcast-feed group="lobby" maxBody="many" />;
