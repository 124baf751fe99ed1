import pytest

from tests.conftest import require


@pytest.mark.parametrize("required", ["", "gpu", "real-mini-2"])
def test_what_is_missing_skips_its_test(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE", required)
    with pytest.raises(pytest.skip.Exception, match="it is not here"):
        require("real-mini", "it is not here")


@pytest.mark.parametrize("required", ["real-mini", "gpu,real-mini", "real-mini slurm"])
def test_what_is_required_fails_its_test(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("REQUIRE", required)
    with pytest.raises(pytest.fail.Exception, match="REQUIRE=real-mini, but it is not here"):
        require("real-mini", "it is not here")
