"""Common commands load only what they use; public classifiers are scikit-learn's all the same."""

import ast
import json
import os
import subprocess
import sys

import pytest

import showtell as st

SLOW = ("sklearn", "scipy", "pandas", "pyarrow", "matplotlib", "torch", "jinja2", "pydantic_ai")


def loaded_by(*arguments, cwd):
    """Slow libraries that a command has loaded by the time it ends."""
    code = (
        "import atexit, json, sys\n"
        "from showtell.__main__ import run\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['showtell', *{list(arguments)!r}]\n"
        "run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stderr.strip().splitlines()[-1])
    return sorted(set(SLOW) & set(names))


@pytest.fixture(scope="module")
def photos(repository):
    return repository / "examples" / "photos"


def test_zero_shot_loads_no_slow_library(photos, tmp_path):
    done = loaded_by("classify", str(photos), "-l", "cat,dog", "-q", "-o", "o.csv", cwd=tmp_path)
    assert done == []


def test_help_loads_no_slow_library(tmp_path):
    assert loaded_by("--help", cwd=tmp_path) == []


def test_a_classifier_taken_by_its_public_name_is_a_true_estimator():
    from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier

    for name in (n for n in st.__all__ if n.endswith("Classifier")):
        cls = getattr(st, name)
        assert issubclass(cls, BaseEstimator), name
        assert issubclass(cls, ClassifierMixin), name
        assert hasattr(cls, "set_score_request"), name
    clf = st.ZeroShotClassifier("mini", labels=["cat", "dog"])
    assert is_classifier(clf)
    assert clone(clf).get_params()["labels"] == ["cat", "dog"]


def test_an_instance_made_before_scikit_learn_came_becomes_an_estimator_too(tmp_path):
    code = (
        "import sys\n"
        "from showtell.classify.embedding.zero_shot import ZeroShotClassifier\n"
        "clf = ZeroShotClassifier('mini', labels=['cat'], abstain_below=0.5)\n"
        "assert clf.get_params(deep=False)['abstain_below'] == 0.5\n"
        "assert 'sklearn' not in sys.modules\n"
        "print(clf)\n"
        "from sklearn.base import BaseEstimator, clone\n"
        "assert isinstance(clf, BaseEstimator) and clone(clf).abstain_below == 0.5\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ZeroShotClassifier(abstain_below=0.5, labels=['cat'])\n"


def test_no_room_takes_a_classifier_by_its_public_name(repository):
    """Which would load scikit-learn for commands that do not need it."""
    found = []
    for path in sorted((repository / "src" / "showtell").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for_types = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if (
                path.name != "__init__.py"
                and id(node) not in for_types
                and isinstance(node, ast.ImportFrom)
                and node.module in ("showtell", "showtell.classify")
                and any(a.name.lower().endswith("classifier") for a in node.names)
            ):
                found.append(f"{path.relative_to(repository)}:{node.lineno}")
    assert found == []
