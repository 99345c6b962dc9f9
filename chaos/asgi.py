"""The host site for daphne, with a clock that can be set back; or the tutorial's consumer beside its pages."""

from project.asgi import application as site  # isort: skip  (loads the apps, which the tutorial's consumer needs)

from chaos.clock import Clock
from chaos.notices import Unreliable
from chaos.settings import CHAOS_HINT_FAULTS, CHAOS_SEED, CHAOS_TALLY, CHAOS_TUTORIAL
from chaos.tutorial import with_tutorial

Unreliable(CHAOS_HINT_FAULTS, CHAOS_SEED, CHAOS_TALLY).install()
Clock().obey_signals()
application = with_tutorial(site) if CHAOS_TUTORIAL else site
