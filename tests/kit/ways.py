"""Ways in which a page makes a browser request an address, as pages that an attacker or a site's users may write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

POLICIES = ("", "no-referrer")

ALONE = {  # leads the page itself away, or opens another
    "location": "<script>location = '{url}'</script>",
    "window.open": "<script>open('{url}')</script>",
    "window.open, noreferrer": "<script>open('{url}', '_blank', 'noopener,noreferrer')</script>",
    "link": "<a href='{url}'></a><script>document.links[0].click()</script>",
    "link, rel=noreferrer": "<a rel=noreferrer href='{url}'></a><script>document.links[0].click()</script>",
    "link, target=_blank": "<a target=_blank href='{url}'></a><script>document.links[0].click()</script>",
    "link, download": "<a download href='{url}'></a><script>document.links[0].click()</script>",
    "meta refresh": "<meta http-equiv=refresh content='0;url={url}'>",
    "form GET": "<form action='{url}'><input name=x></form><script>document.forms[0].submit()</script>",
    "form POST": "<form method=post action='{url}'></form><script>document.forms[0].submit()</script>",
    "form POST, text/plain": (
        "<form method=post enctype=text/plain action='{url}'><input name=x></form>"
        "<script>document.forms[0].submit()</script>"
    ),
    "form POST, multipart": (
        "<form method=post enctype=multipart/form-data action='{url}'><input name=x></form>"
        "<script>document.forms[0].submit()</script>"
    ),
    "form POST, a token and its cookie planted": (
        "<form method=post action='{url}'><input name=csrfmiddlewaretoken value='{token}'></form>"
        "<script>document.cookie = 'csrftoken={token};path=/;domain={domain}';"
        "document.forms[0].submit()</script>"
    ),
    "redirect": "<script>location = '{hop}'</script>",
    "redirect of the site's own": "<script>location = '{leave}'</script>",
    "sandboxed frame that leads the page away": (
        "<iframe sandbox='allow-scripts allow-top-navigation' srcdoc=\"<script>top.location = '{url}'</script>\">"
        "</iframe>"
    ),
    "blob that leads itself away": (
        "<script>open(URL.createObjectURL(new Blob([`<script>location = '{url}'</`+`script>`], "
        "{{type: 'text/html'}})))</script>"
    ),
}
PARTS = {  # happens inside of the page
    "img": "<img src='{url}'>",
    "img srcset": "<img srcset='{url} 1x'>",
    "img, redirect": "<img src='{hop}'>",
    "img, redirect of the site's own": "<img src='{leave}'>",
    "picture": "<picture><source srcset='{url}'><img></picture>",
    "input image": "<input type=image src='{url}'>",
    "body background": "<table background='{url}'><tr><td>x</table>",
    "svg image": "<svg width=9 height=9><image href='{url}' width=9 height=9 /></svg>",
    "CSS background": "<p style='background: url({url})'>x</p>",
    "CSS @import": "<style>@import url({url});</style>",
    "CSS font": "<style>@font-face {{font-family: f; src: url({url})}}</style><p style='font-family: f'>x</p>",
    "stylesheet": "<link rel=stylesheet href='{url}'>",
    "icon": "<link rel=icon href='{url}'>",
    "manifest": "<link rel=manifest href='{url}'>",
    "preload": "<link rel=preload as=image href='{url}'>",
    "modulepreload": "<link rel=modulepreload href='{url}'>",
    "prefetch": "<link rel=prefetch href='{url}'>",
    "prerender": "<link rel=prerender href='{url}'>",
    "speculation rules, prefetch": (
        '<script type=speculationrules>{{"prefetch": [{{"urls": ["{url}"], "eagerness": "immediate"}}]}}</script>'
    ),
    "speculation rules, prerender": (
        '<script type=speculationrules>{{"prerender": [{{"urls": ["{url}"], "eagerness": "immediate"}}]}}</script>'
    ),
    "iframe": "<iframe src='{url}'></iframe>",
    "iframe, sandboxed": "<iframe sandbox='allow-scripts allow-forms' src='{url}'></iframe>",
    "iframe, form POST": (
        "<iframe name=in></iframe><form id=in method=post target=in action='{url}'></form>"
        "<script>document.getElementById('in').submit()</script>"
    ),
    "object": "<object data='{url}'></object>",
    "embed": "<embed src='{url}'>",
    "video": "<video preload=auto src='{url}'></video>",
    "video poster": "<video poster='{url}' width=9 height=9></video>",
    "audio": "<audio preload=auto src='{url}'></audio>",
    "script": "<script async src='{url}'></script>",
    "module script": "<script type=module src='{url}'></script>",
    "fetch": "<script>fetch('{url}')</script>",
    "fetch, with cookies": "<script>fetch('{url}', {{credentials: 'include'}})</script>",
    "fetch, no-cors": "<script>fetch('{url}', {{mode: 'no-cors', credentials: 'include'}})</script>",
    "fetch, as if asking for a page": (
        "<script>fetch('{url}', {{mode: 'no-cors', credentials: 'include', headers: {{Accept: 'text/html'}}}})</script>"
    ),
    "fetch, Authorization": "<script>fetch('{url}', {{headers: {{Authorization: 'Bearer x'}}}})</script>",
    "fetch, HEAD": "<script>fetch('{url}', {{method: 'HEAD', mode: 'no-cors'}})</script>",
    "fetch, POST": "<script>fetch('{url}', {{method: 'POST', mode: 'no-cors', credentials: 'include'}})</script>",
    "fetch, POST of JSON": (
        "<script>fetch('{url}', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}}})</script>"
    ),
    "fetch in a worker": (
        "<script>new Worker(URL.createObjectURL(new Blob([`fetch('{url}', {{mode: 'no-cors', "
        "credentials: 'include'}})`])))</script>"
    ),
    "XMLHttpRequest": "<script>x = new XMLHttpRequest(); x.open('GET', '{url}'); x.send()</script>",
    "EventSource": "<script>new EventSource('{url}', {{withCredentials: true}})</script>",
    "sendBeacon": "<script>navigator.sendBeacon('{url}', 'x')</script>",
    "WebSocket": "<script>new WebSocket('{url}'.replace('http', 'ws'))</script>",
    "ping": "<a ping='{url}' href='#ping' id=ping></a><script>document.getElementById('ping').click()</script>",
}


def slug(way: str) -> str:
    """A way's name as an address has it, and so the message that it announces."""
    return re.sub(r"[^\w]+", "-", way).strip("-")


def page_url(origin: str, **query: str) -> str:
    """Where a page is that goes one way, or all the ways of parts if ``way`` is empty; see `page`."""
    return f"{origin}/page/?{urlencode(query)}"


def page(query: Mapping[str, str]) -> str:
    """A page that makes requests to the site ``to`` by ``way``; its messages begin with ``mark``."""
    ways = [query["way"]] if query.get("way") else PARTS
    policy = f"<meta name=referrer content={query['policy']}>" if query.get("policy") else ""
    return f"<!doctype html><title>Page</title>{policy}<body>" + "".join(each(query, ways))


def each(query: Mapping[str, str], ways: Iterable[str]) -> Iterable[str]:
    for way in ways:
        url = f"{query['to']}/broadcast/{query['mark']}.{slug(way)}"
        yield (ALONE | PARTS)[way].format(
            url=url,
            hop=f"{query['attacker']}/hop/?to={quote(url, safe='')}",
            leave=f"{query['to']}/hop/?to={quote(url, safe='')}",
            token="a" * 32,
            domain=query["domain"],
        )
