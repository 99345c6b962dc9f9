"""A plain process that sends: it does what each line of its input asks for and answers with the outcome."""

import json
import signal
import sys

import django
from django.db import close_old_connections

django.setup()

from chaos.acts import perform  # noqa: E402  (needs the apps)

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have switched off

for line in sys.stdin:
    close_old_connections()
    print(json.dumps(perform(**json.loads(line))), flush=True)
