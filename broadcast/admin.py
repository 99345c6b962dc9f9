"""The admin: messages to read and to send, and what each group's log keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ERROR_FLAG, SEARCH_VAR
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from .access import policy
from .access.identity import public_name
from .api import send
from .conf import conf
from .engine.process import current_process
from .engine.storage.database import reading
from .engine.validation import SERVER, checked_body, checked_data, checked_group
from .exceptions import BroadcastError, LogUnavailable
from .forms import BodyField, DataField, accepted_by
from .groups import DEFAULT_GROUP, all_rules, is_group_name, retention, rule_for
from .models import Group, Message

MAX_OFFERED = 100  # groups to choose from; others can be typed


def known_groups() -> list[str]:
    """The groups that the settings name, then those that the log has."""
    named = [name for name in [*conf.GROUPS, *all_rules()] if is_group_name(name)]
    try:
        logged = reading(lambda: list(Group.objects.values_list("name", flat=True)[:MAX_OFFERED]))
    except LogUnavailable:
        logged = []
    return list(dict.fromkeys([*named, *logged]))[:MAX_OFFERED]


# The form


def is_known(group: object) -> None:
    """A form's validator that refuses groups which nobody can receive and which have no log: misspelt ones."""
    name = str(group)
    if rule_for(name) is None and not Group.objects.filter(name=name).exists():
        raise ValidationError(f"There is no group {name!r} here. {policy.explain('announce', name)}")


class GroupInput(AdminTextInputWidget):
    """A line of text that offers the groups there are."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> Any:
        offer = f"{name}_offer"
        field = super().render(name, value, {**(attrs or {}), "list": offer}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((group,) for group in known_groups()))
        return format_html('{}<datalist id="{}">{}</datalist>', field, offer, options)


class MessageForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A message to be sent, as the signed-in ``user`` or as the site."""

    user: Any  # set by the admin on the class that it makes for a request

    group = forms.CharField(
        label=_("group"),
        initial=DEFAULT_GROUP,
        empty_value=DEFAULT_GROUP,
        required=False,
        validators=[accepted_by(checked_group), is_known],
        widget=GroupInput,
    )
    author = forms.ChoiceField(label=_("author"), initial=Message.Source.SERVER, required=False)
    body = BodyField(label=_("body"), strip=False, validators=[accepted_by(checked_body)], widget=AdminTextareaWidget)
    data = DataField(  # type: ignore[assignment]  # a form's own attribute of that name is another thing
        label=_("data"),
        required=False,
        validators=[accepted_by(checked_data)],
        widget=AdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_("A JSON object that goes with the message, if pages make use of one."),
    )

    class Meta:
        model = Message
        fields = ["body", "data"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        author = self.fields["author"]
        assert isinstance(author, forms.ChoiceField)  # noqa: S101 (declared above)
        author.choices = [(Message.Source.SERVER, SERVER), (Message.Source.USER, public_name(self.user))]

    def arguments(self) -> dict[str, Any]:
        """The arguments for ``send()``."""
        written = self.cleaned_data
        as_user = written["author"] == Message.Source.USER
        return {
            "body": written["body"],
            "group": written["group"],
            "author": self.user if as_user else SERVER,
            "data": written["data"],
            "by": None if as_user else self.user,
        }


class ReadableAddress(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Leads an address with a NUL, which PostgreSQL refuses, to the list without it, as Django does with others."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        asked = [(name, value) for name, values in request.GET.lists() for value in values if name != SEARCH_VAR]
        if any("\x00" in name + value for name, value in asked):
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)


# Messages


class GroupFilter(admin.SimpleListFilter):
    """The groups to choose from; an address may name any other."""

    title = _("group")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in known_groups()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        group = self.value()
        return queryset if group is None else queryset.filter(group_id=group)


@admin.register(Message)
class MessageAdmin(ReadableAddress):
    """Reads the log. Adding a message is sending it; what was sent stays as it is."""

    form = MessageForm
    exclude = ["group", "author"]  # of the model: the form has fields of its own under these names
    list_display = ["offset", "group_name", "author", "source", "by", "sent_at", "beginning"]
    list_display_links = ["offset", "beginning"]
    list_filter = [GroupFilter, "source", "sent_at"]
    search_fields = ["body", "author", "by"]
    show_full_result_count = False

    @admin.display(description=_("group"), ordering="group_id")
    def group_name(self, message: Message) -> str:
        return message.group_id

    @admin.display(description=_("body"))
    def beginning(self, message: Message) -> str:
        return Truncator(message.body).chars(80)

    def get_fields(self, request: HttpRequest, obj: Message | None = None) -> Any:
        if obj is None:
            return ["group", "author", "body", "data"]
        return ["group", "offset", "author", "source", "user", "by", "sent_at", "body", "data", "ref"]

    def has_change_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Message | None = None) -> bool:
        return False  # it would leave a hole in the log

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Message | None:
        """A message with its user, who need not be in the database of the log."""
        message: Message | None = super().get_object(request, object_id, from_field)
        if message is not None and message.user_id is not None:
            user = get_user_model()._default_manager.filter(pk=message.user_id).first()
            Message._meta.get_field("user").set_cached_value(message, user)
        return message

    def get_form(self, request: HttpRequest, obj: Message | None = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        return request.POST.dict() or super().get_changeform_initial_data(request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form, and sending what it says; if that fails, the form again with what was written still in it."""
        # Permissions are read now and remembered: on SQLite, a transaction that reads before it
        # writes is refused whenever somebody else writes in between.
        self.has_add_permission(request)
        context = {"title": _("Send a message"), **(extra_context or {})}
        try:
            return super().add_view(request, form_url, context)
        except BroadcastError as error:
            self.message_user(request, str(error), messages.ERROR)
        request.method = "GET"
        return super().add_view(request, form_url, context)

    def save_model(self, request: HttpRequest, obj: Message, form: Any, change: bool) -> None:
        sent = send(**form.arguments())
        obj.pk, obj.author = sent.pk, sent.author

    def response_add(self, request: HttpRequest, obj: Message, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, _("Your message was sent."), messages.SUCCESS)
        if "_addanother" in request.POST:
            return HttpResponseRedirect(request.get_full_path())
        return self.response_post_save_add(request, obj)


# Groups


@admin.register(Group)
class GroupAdmin(ReadableAddress):
    """Shows how far each log has got and what it keeps. Groups come into being on first use."""

    list_display = ["name", "head", "floor"]
    search_fields = ["name"]
    fields = ["name", "head", "floor", "epoch", "kept", "keeps_at_most", "keeps_for"]
    readonly_fields = ["kept", "keeps_at_most", "keeps_for"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return False

    @admin.display(description=_("messages kept"))
    def kept(self, group: Group) -> str:
        address = reverse("admin:broadcast_message_changelist", current_app=self.admin_site.name)
        count = group.messages.count()
        return format_html('<a href="{}?{}">{}</a>', address, urlencode({"group": group.name}), count)

    @admin.display(description=_("keeps at most"))
    def keeps_at_most(self, group: Group) -> Any:
        count, _seconds = retention(group.name)
        return _("any number of messages") if count is None else _("%d messages") % count

    @admin.display(description=_("keeps for"))
    def keeps_for(self, group: Group) -> Any:
        _count, seconds = retention(group.name)
        return _("any time") if seconds is None else str(timedelta(seconds=seconds)).removesuffix(", 0:00:00")

    # Deleting: the history goes too, though messages alone may not be deleted

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The lines of the confirmation: each group with the number of its messages, not every message."""
        counts = {group.name: group.messages.count() for group in objs}
        shown = [_("%(group)s, with %(count)d messages") % {"group": name, "count": n} for name, n in counts.items()]
        totals = {
            Group._meta.verbose_name_plural: len(counts),
            Message._meta.verbose_name_plural: sum(counts.values()),
        }
        return shown, totals, set(), []

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        current_process().pruning.erase(obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        for name in queryset.order_by("name").values_list("name", flat=True):
            current_process().pruning.erase(name)
