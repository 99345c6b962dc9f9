"""docs/openapi.yaml, tried on real servers: whatever is asked, the answer is one that it describes.

`--hypothesis-profile=long` asks twenty times as much.
"""

from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from tests.kit.forbidden import forbidden_in
from tests.site import ROOT, Daphne

load_all_checks()
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")
ACCEPTED = st.sampled_from(["*/*", "application/json", "text/html,*/*;q=0.8", "text/plain", "x"])
SITES = {"open demo": ("1", {200, 201, 400}), "default": ("0", {200, 400, 403})}


@pytest.mark.parametrize(("is_open", "statuses"), SITES.values(), ids=SITES)
def test_every_answer_is_one_that_is_described(daphne: Callable[..., Daphne], is_open: str, statuses: set[int]) -> None:
    server = daphne(DEBUG="0", SECRET_KEY="x" * 60, ALLOWED_HOSTS="127.0.0.1", OPEN_DEMO=is_open)
    seen: set[int] = set()
    for operation in SCHEMA.get_all_operations():
        seen |= statuses_of(operation.ok(), server.url)
    assert seen >= statuses
    assert server.failures == []


def statuses_of(operation: schemathesis.APIOperation, url: str) -> set[int]:
    """Asks for it in many ways, right and wrong ones, and holds every answer to what is described."""
    seen: set[int] = set()

    @hypothesis(max_examples=hypothesis().max_examples // 8, suppress_health_check=HealthCheck, phases=[Phase.generate])
    @given(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)), ACCEPTED)
    def ask(case: schemathesis.Case, accepted: str) -> None:
        answer = case.call(base_url=url, headers={"Accept": accepted}, allow_redirects=False)
        case.validate_response(answer, checks=CHECKS)
        assert forbidden_in(answer.text) == []
        seen.add(answer.status_code)

    ask()
    return seen
