// A site's script that a bundler puts together: it runs, too.
import { connect } from "django-live-broadcast";
import "django-live-broadcast/announcements";
import "django-live-broadcast/feed";
import "django-live-broadcast/feed.css";

const client = connect();

document.body.append(document.createElement("broadcast-announcements"), document.createElement("broadcast-feed"));
Object.assign(window, { client });
