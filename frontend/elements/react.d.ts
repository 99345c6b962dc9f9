/** The elements in JSX, for React 19: `import type {} from "django-live-broadcast/react"` somewhere in the site. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type {
  BroadcastAnnouncementsElement,
  BroadcastBellElement,
  BroadcastFeedElement,
  BroadcastMessageEvent,
  BroadcastStateEvent,
  Position,
  Texts,
} from "./elements.js";

interface Common {
  group?: string | null;
  socket?: string | null;
  epoch?: string | null;
  offset?: number | string | null;
  user?: string | null;
  texts?: Texts | string | null;
  shadow?: "none";
  "onbroadcast-message"?: (event: BroadcastMessageEvent) => void;
  "onbroadcast-state"?: (event: BroadcastStateEvent) => void;
}

interface Announcements extends Common {
  as?: "banner" | "toasts";
  position?: Position;
  timeout?: number;
  max?: number;
}

interface Feed extends Common {
  write?: boolean;
  maxBody?: number;
}

interface Bell extends Common {
  own?: string;
  personal?: boolean;
  url?: string;
  limit?: number;
}

type Props<Element, Own> = DetailedHTMLProps<Omit<HTMLAttributes<Element>, keyof Own>, Element> & Own;

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "broadcast-announcements": Props<BroadcastAnnouncementsElement, Announcements>;
      "broadcast-feed": Props<BroadcastFeedElement, Feed>;
      "broadcast-bell": Props<BroadcastBellElement, Bell>;
    }
  }
}
