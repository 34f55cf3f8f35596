"""`import leukonca` and the help text load nothing heavy, and a missing library is told by name."""

import subprocess
import sys

import pytest

import leukonca

HEAVY = ("torch", "numba", "scipy", "sklearn", "matplotlib", "PIL", "numpy", "tyro", "rich", "safetensors")


def loaded(code: str) -> set[str]:
    """What of `HEAVY` a fresh interpreter holds after running the code."""
    report = f"import sys\n{code}\nprint('LOADED', *({set(HEAVY)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_the_package_loads_nothing() -> None:
    assert loaded("import leukonca\nleukonca.CLASSES, leukonca.__version__, leukonca.DataError, dir(leukonca)") == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["no-such-verb"]])
def test_help_and_version_load_nothing(words: list[str]) -> None:
    assert loaded(f"from leukonca.cli import main\nmain({words!r})") == set()


def test_fire_mask_and_predictor_need_no_torch() -> None:
    assert "torch" not in loaded("import leukonca\nleukonca.fire_mask(0, 0, 4, 4)\nleukonca.Predictor")
    assert "torch" not in loaded("import leukonca.data.cells, leukonca.data.splits, leukonca.models.folder")


def test_every_public_name_is_there() -> None:
    assert set(leukonca.__all__) <= set(dir(leukonca))
    for name in leukonca.__all__:
        assert getattr(leukonca, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = leukonca.nonsense
    assert not hasattr(leukonca, "__wrapped__")


@pytest.mark.parametrize("verb", ["demo", "data", "train", "evaluate", "predict", "explain", "benchmark", "calibrate"])
def test_the_help_of_a_verb_needs_neither_torch_nor_the_compiler(verb: str) -> None:
    held = loaded(f"from leukonca.cli import main\nmain([{verb!r}, '--help'])")
    assert not held & {"torch", "numba", "sklearn", "matplotlib"}


@pytest.mark.parametrize("verb", ["cross-center", "ablate"])
def test_the_help_of_a_benchmark_needs_neither_torch_nor_the_compiler(verb: str) -> None:
    held = loaded(f"from leukonca.cli import main\nmain(['benchmark', {verb!r}, '--help'])")
    assert not held & {"torch", "numba", "sklearn", "matplotlib"}
