"""Groups that stand for a user or an object: their names, plain for ``send`` and signed for pages."""

from .access.audiences import group_for
from .access.signed_names import signed_name

__all__ = ["group_for", "signed_name"]
