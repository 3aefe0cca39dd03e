"""Every vector test runs on both implementations."""

from typing import Any

import pytest

from tests.implementations import BOTH, use


@pytest.fixture(autouse=True, params=BOTH)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    use(monkeypatch, request.param)
    return request.param
