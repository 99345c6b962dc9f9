"""docs/openapi.yaml says what the code does: parameters, statuses, codes, keys and limits."""

import re

import pytest
import yaml

from broadcast import send, views
from broadcast.answers import STATUS
from broadcast.conf import conf
from broadcast.elements import views as elements
from broadcast.elements.receipt_cookies import EPOCH
from broadcast.elements.received import MAX_LISTED
from broadcast.engine.validation import MAX_AUTHOR
from broadcast.forms import FORMS, JSON, YES_AND_NO
from broadcast.groups import GROUP_NAME
from broadcast.models import Message
from tests.site import ROOT

DESCRIBED = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
LOG, ANNOUNCEMENT, RECEIVED, READ, DISMISSED = (
    DESCRIBED["paths"][f"/broadcast/{path}"] for path in ("", "{msg}", "-/received", "-/read", "-/dismissed")
)
OPERATIONS = [path[way] for path in DESCRIBED["paths"].values() for way in ("get", "post") if way in path]
SCHEMAS = DESCRIBED["components"]["schemas"]
VIEWS = (ROOT / "broadcast" / "views.py").read_text() + (ROOT / "broadcast" / "answers.py").read_text()
ELEMENTS = (ROOT / "broadcast" / "elements" / "views.py").read_text()
OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}


def test_the_parameters_are_those_that_are_read():
    described = {each["name"] for each in LOG["get"]["parameters"]}
    assert described == set(re.findall(r'GET\.get\("(\w+)"', VIEWS))
    limit = next(each["schema"] for each in LOG["get"]["parameters"] if each["name"] == "limit")
    assert (limit["minimum"], limit["maximum"]) == (1, views.MAX_LIMIT)


@pytest.mark.parametrize(
    "operation", [path[way] for path in DESCRIBED["paths"].values() for way in ("get", "post") if way in path]
)
def test_every_code_has_its_status_and_no_status_is_made_up(operation):
    refusals = {status for status in map(int, operation["responses"]) if status >= 400}
    is_counted = operation["operationId"] in ("send", "announce", "announceByAddress")
    assert refusals == {405, *STATUS.values()} - (set() if is_counted else {429})
    assert SCHEMAS["Refusal"]["properties"]["code"]["enum"] == list(STATUS)


def test_the_readers_addresses_have_the_limits_of_the_code():
    parameters = {each["name"]: each["schema"] for each in RECEIVED["get"]["parameters"]}
    assert set(parameters) == set(re.findall(r'GET\.get(?:list)?\("(\w+)"', ELEMENTS))
    assert (parameters["group"]["maxItems"], parameters["limit"]["maximum"]) == (elements.MAX_GROUPS, MAX_LISTED)
    listed = SCHEMAS["Places"]["anyOf"][1]["properties"]["groups"]
    assert listed["maxItems"] == SCHEMAS["PlacesForm"]["properties"]["group"]["maxItems"] == elements.MAX_PLACES
    assert SCHEMAS["Epoch"]["pattern"] == f"^{EPOCH.pattern}$"
    assert READ["post"]["responses"] == DISMISSED["post"]["responses"]


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
    received = client.get("/broadcast/-/received").json()
    assert set(SCHEMAS["Listed"]["required"]) == {*received["messages"][0]} - {"data"}
    keys = {
        "Received": {*received},
        "Message": {*said, *history["messages"][0]},
        "History": {*history},
        "Refusal": {*refusal},
    }
    assert {name: set(SCHEMAS[name]["properties"]) for name in keys} == keys
