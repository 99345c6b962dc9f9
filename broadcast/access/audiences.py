"""Audiences: the group that stands for a user, for an object, or is named by text."""

from __future__ import annotations

from typing import TypeGuard

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Model

from ..exceptions import InvalidMessage
from ..groups import GROUP_NAME, is_group_name


def group_for(to: object) -> str:
    """The name of the group that stands for ``to``.

    A user has ``user.<pk>``, which reaches all their tabs and nobody else; an instance of any other
    model ``<app_label>.<model_name>.<pk>``, also by a proxy of its model; text is the name of a
    group. Raises InvalidMessage for anything else, for what is not saved, and for a key that does
    not fit into a group's name.
    """
    if isinstance(to, str):
        if is_group_name(to):
            return str(to)
        raise InvalidMessage(f"A group's name must match {GROUP_NAME.pattern}; to came as {to[:80]!r}.")
    if isinstance(to, type) or not isinstance(to, Model):
        raise InvalidMessage(
            f"to must be a user, a saved model instance or a group's name; it came as {described(to)}."
        )
    if to.pk is None or to._state.adding:
        raise InvalidMessage(f"to must be saved, for its key names the group; this {type(to).__name__} is not.")
    group = f"{kind_of(to)}.{to.pk}"
    if not is_group_name(group):
        raise InvalidMessage(f"The group's name must match {GROUP_NAME.pattern}; that of to would be {group[:160]!r}.")
    return group


def kind_of(instance: Model) -> str:
    """The first part of the name of an instance's group."""
    if is_user(instance):
        return "user"
    concrete = instance._meta.concrete_model or type(instance)
    return concrete._meta.label_lower


def is_user(to: object) -> TypeGuard[AbstractBaseUser]:
    return isinstance(to, get_user_model())


def described(to: object) -> str:
    if to is None:
        return "None"
    if getattr(to, "is_anonymous", False) is True:
        return "an anonymous user"
    return f"the class {to.__name__}" if isinstance(to, type) else type(to).__name__
