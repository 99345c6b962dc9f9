"""docs/openapi.yaml says what the code does: parameters, statuses, codes, keys and limits."""

import re

import pytest
import yaml

from broadcast import send, views
from broadcast.answers import STATUS
from broadcast.conf import conf
from broadcast.engine.validation import MAX_AUTHOR
from broadcast.forms import FORMS, JSON, YES_AND_NO
from broadcast.groups import GROUP_NAME
from broadcast.models import Message
from tests.site import ROOT

DESCRIBED = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
LOG, ANNOUNCEMENT = (DESCRIBED["paths"][path] for path in ("/broadcast/", "/broadcast/{msg}"))
SCHEMAS = DESCRIBED["components"]["schemas"]
VIEWS = (ROOT / "broadcast" / "views.py").read_text() + (ROOT / "broadcast" / "answers.py").read_text()
OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}


def test_the_parameters_are_those_that_are_read():
    described = {each["name"] for each in LOG["get"]["parameters"]}
    assert described == set(re.findall(r'GET\.get\("(\w+)"', VIEWS))
    limit = next(each["schema"] for each in LOG["get"]["parameters"] if each["name"] == "limit")
    assert (limit["minimum"], limit["maximum"]) == (1, views.MAX_LIMIT)


@pytest.mark.parametrize("operation", [path[way] for path in (LOG, ANNOUNCEMENT) for way in ("get", "post")])
def test_every_code_has_its_status_and_no_status_is_made_up(operation):
    refusals = {status for status in map(int, operation["responses"]) if status >= 400}
    is_read = operation["operationId"] == "read"
    assert refusals == {405, *STATUS.values()} - ({429} if is_read else set())
    assert SCHEMAS["Refusal"]["properties"]["code"]["enum"] == list(STATUS)


def test_limits_and_forms_are_those_of_the_code():
    draft, form = SCHEMAS["Draft"]["properties"], SCHEMAS["Form"]["properties"]
    assert set(LOG["post"]["requestBody"]["content"]) == {JSON, *FORMS}
    assert draft["body"]["maxLength"] == form["body"]["maxLength"] == type(conf).MAX_BODY.default
    assert draft["author"]["maxLength"] == form["author"]["maxLength"] == MAX_AUTHOR
    assert form["announce"]["enum"] == list(YES_AND_NO)
    assert SCHEMAS["Group"]["pattern"] == f"^{GROUP_NAME.pattern}$"
    assert SCHEMAS["Message"]["properties"]["source"]["enum"] == list(Message.Source.values)


def test_the_keys_are_those_of_the_answers(client, db, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    send("hi", data={})
    said = client.post("/broadcast/", {"body": "hi"}).json()
    history = client.get("/broadcast/", {"format": "json"}).json()
    refusal = client.post("/broadcast/", {"body": ""}).json()
    keys = {
        "Message": {*said, *history["messages"][0]},
        "History": {*history},
        "Refusal": {*refusal},
    }
    assert {name: set(SCHEMAS[name]["properties"]) for name in keys} == keys
