"""The host site with the middleware of docs/http.md, which a test has written where Python finds it."""

import os

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "mysite.tokens.TokenMiddleware", "mysite.basic.BasicMiddleware"]
API_TOKENS = {os.environ["TOKEN_HASH"]: "monitor"}
