"""What no stranger is ever told: words of settings, the database, the machine and the code, and a way to find them."""

import re

from broadcast import exceptions
from broadcast.conf import Limits, known_settings

ERRORS = [name for name, value in vars(exceptions).items() if isinstance(value, type) and name != "Refused"]

FORBIDDEN = re.compile(
    "|".join(
        (
            # settings, as they are written
            rf"\b(?:BROADCAST|LIMITS|{'|'.join({*known_settings(), *known_settings(Limits)})})\b",
            r"\bsettings\.|\b(?:SECRET_KEY|DATABASES|DATABASE_URL|REDIS_URL|ALLOWED_HOSTS|DATA_UPLOAD_MAX\w+)\b",
            # rules and permissions
            r"perm:|\b(?:add|change|delete|view)_(?:message|group|user)\b",
            # the database and the channel layer
            r"(?i:postgres|psycopg|sqlite|redis|channels_)",
            r"(?i:\b(?:broadcast_(?:message|group)|(?:auth|django)_[a-z]+)\b)",
            r"\b(?:SELECT|INSERT|UPDATE|DELETE|WHERE|COMMIT|ROLLBACK|CONSTRAINT|FATAL)\b",
            r"(?i:no such table|relation|disk image|disk i/o|disk is full|\brole\b(?!=)|permission denied|refused by)",
            # the machine
            r"\b127\.0\.0\.\d|\blocalhost\b|/(?:work|home|root|tmp|usr|var|etc|opt)/|site-packages|\w\.py\b|\bport \d",
            # the code
            rf"Traceback|\b[A-Z]\w*(?:Error|Exception)\b|\b(?:{'|'.join(ERRORS)})\b",
            r"<class |<function | object at 0x|\bErrno\b",
        )
    )
)


def forbidden_in(text: str, *more: str) -> list[str]:
    """What an answer to a stranger says of the site's inside; ``more`` are names of the test's own, such as a role."""
    return [found.group() for found in FORBIDDEN.finditer(text)] + [word for word in more if word in text]
