from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real cells beside the checkout; a test that needs them fails, never skips, where they are missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    assert folder.is_dir(), f"{folder} is missing: the tests on real cells cannot run"
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("LEUKONCA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
