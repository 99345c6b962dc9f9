"""Whatever is posted, in whatever charset, and whatever a cookie says: it is read or refused in words for strangers."""

from io import BytesIO
from urllib.parse import urlencode

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import AsyncClient
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from broadcast.elements.announcements import COOKIE, dismissed
from broadcast.forms import JSON, fields_in, is_announcement, posted
from broadcast.models import Message
from tests.kit.forbidden import forbidden_in
from tests.kit.fuzz import FRAMES, HEADER, PARTS, TEXT, tried

with_fixtures = hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)

CHARSETS = ["base64", "hex", "rot13", "idna", "punycode", "undefined", "utf-16", "latin-1", "utf-7", "unicode_escape"]
KINDS = [JSON, "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
TYPES = HEADER | st.tuples(st.sampled_from(KINDS), st.sampled_from(["", ";", "; boundary=y"])).map("".join)
CHARSET = st.just("utf-8") | st.sampled_from(["x", *CHARSETS]) | HEADER

LINES = st.sampled_from(
    [
        *(b"--x", b"--x--", b"", b"hi", b"Content-Type: text/plain; charset=hex", b"Content-Transfer-Encoding: base64"),
        *(b'Content-Disposition: form-data; name="%s"' % name for name in (b"body", b"data", b"\xff", b"")),
        b'Content-Disposition: form-data; name="body"; filename="x"',
    ]
)
MULTIPART = st.lists(LINES | st.binary(max_size=20), max_size=12).map(b"\r\n".join)
FORM = st.text("body=dataguth&%;+{}7[]:\"'0", max_size=60).map(str.encode)
FRAME = FRAMES.map(lambda text: text.encode("utf-8", "surrogatepass"))
SOUND = st.tuples(st.just(JSON), FRAME) | st.tuples(
    st.just(KINDS[1]), st.dictionaries(st.sampled_from(list(PARTS)), TEXT).map(urlencode).map(str.encode)
)
POSTED = SOUND | st.tuples(st.just(KINDS[2]), MULTIPART) | st.tuples(TYPES, st.binary(max_size=60) | FORM | FRAME)
FORM_OF_HI = b'--x\r\nContent-Disposition: form-data; name="body"\r\n\r\nhi\r\n--x--\r\n'


@given(POSTED, CHARSET)
@example((JSON, b"\xff"), "utf-8")
@example((KINDS[2], FORM_OF_HI), "base64")
def test_what_is_posted_is_read_or_refused(posted_as, charset):
    kind, body = posted_as
    said = f"{kind}; charset={charset}".encode("latin-1")
    scope = {"type": "http", "method": "POST", "path": "/broadcast/", "headers": [(b"content-type", said)]}
    request = ASGIRequest(scope, BytesIO(body))
    fields, error = tried(fields_in, request)
    if error is None:
        assert all(isinstance(name, str) for name in fields)
        announces, error = tried(is_announcement, fields)
        assert announces in (True, False, None)
    assert error is None or "'" in str(error) or forbidden_in(str(error)) == []
    assert posted(request) is None or isinstance(posted(request), dict)


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("kind", KINDS[1:3])
async def test_a_form_that_names_another_charset_is_refused(transactional_db, kind, charset):
    """Django would read it by any codec that Python has, and fail at some."""
    client, asked = AsyncClient(enforce_csrf_checks=True), {"content_type": f"{kind}; charset={charset}"}
    for accept in (JSON, "text/html"):
        for status, headers in ((400, {"Accept": accept}), (403, {"Accept": accept, "Cookie": "a=b"})):
            answer = await client.generic("POST", "/broadcast/", FORM_OF_HI, headers=headers, **asked)
            assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (status, accept)
            assert status == 403 or forbidden_in(answer.content.decode()) == []
    assert (await client.generic("POST", "/broadcast/x", FORM_OF_HI, headers=headers, **asked)).status_code == 403
    assert not await Message.objects.aexists()


# Cookies


@given(TEXT)
def test_any_cookie_names_pairs(cookie):
    assert all(map(all, [[isinstance(part, str) for part in key] for key in dismissed(cookie)]))


@given(
    st.dictionaries(st.text("aZ09-_", min_size=1), st.sets(st.integers(0, 2**63 - 1).map(str), min_size=1), min_size=1)
)
def test_what_a_cookie_says_is_found(keys):
    cookie = "~".join(f"{epoch}:{'.'.join(offsets)}" for epoch, offsets in keys.items())
    assert dismissed(cookie) == {(epoch, offset) for epoch, offsets in keys.items() for offset in offsets}


@pytest.mark.django_db
@with_fixtures
@given(HEADER)
def test_the_page_comes_whatever_the_cookies_say(client, cookie):
    for said in (cookie, f"{COOKIE}={cookie}; sessionid={cookie}; csrftoken={cookie}; messages={cookie}"):
        assert client.get("/", headers={"Cookie": said}).status_code == 200
