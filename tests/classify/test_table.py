"""The table of methods says what is true of the classes, and imports none of them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from showtell.classify.table import (
    OPTIONS,
    Method,
    automatic,
    find_method,
    method_names,
    methods,
    takers_of,
)
from showtell.errors import InputError, UnknownNameError

ROWS = list(methods().values())
OF_THE_MODEL = {"jobs", "wait"}
BY_NAME = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def test_the_table_loads_no_class_and_no_numpy():
    code = "import sys, showtell.classify.table; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "numpy" not in loaded
    rooms = {name.split(".")[2] for name in loaded if name.startswith("showtell.classify.")}
    assert rooms <= {"table", "estimator"}


@BY_NAME
def test_what_a_method_takes_are_arguments_of_its_class(row):
    parameters = inspect.signature(row.load()).parameters
    taken = {row.named.get(name, name) for name in row.takes} - OF_THE_MODEL
    if row.calibrated:  # images are drawn for it
        taken -= {"n_calibration"}
    assert taken | set(row.fixed) | set(row.calibrated) <= set(parameters)
    told = {"names": "labels", "described names": "labels"}
    assert {told.get(name, name) for name in row.told} <= set(parameters)
    assert ("model" in parameters and row.fixed.get("model") is None) == row.asks


@BY_NAME
def test_usual_values_of_options_are_those_of_the_classes(row):
    """So an option that is not given need not be passed."""
    parameters = inspect.signature(row.load()).parameters
    usual = {
        name: (OPTIONS[name], parameters[row.named.get(name, name)].default)
        for name in row.takes
        if name not in {"n_calibration", *OF_THE_MODEL} and OPTIONS[name] is not None
    }
    assert {name: ours for name, (ours, _) in usual.items()} == {
        name: theirs for name, (_, theirs) in usual.items()
    }


def test_auto_stands_for_one_method_in_each_case():
    kinds = ("encoder", "encoder, examples", "model", "model, examples", "local model")
    assert [automatic(kind).name for kind in kinds] == [
        "zero-shot", "few-shot", "direct", "in-context", "likelihood",
    ]  # fmt: skip
    claimed = [kind for row in ROWS for kind in row.automatic]
    assert sorted(claimed) == sorted(kinds)


def test_a_method_that_becomes_another_without_examples_becomes_one_that_exists():
    for row in ROWS:
        if row.without_shots:
            assert find_method(row.without_shots).learns != "always"
            assert "shots" in row.takes


def test_an_unknown_method_is_refused_with_all_that_there_are():
    with pytest.raises(UnknownNameError, match="Unknown method 'few_shot'") as caught:
        find_method("few_shot")
    assert caught.value.allowed == method_names()
    assert "'few-shot'" in str(caught.value)


def test_a_row_cannot_take_what_does_not_exist():
    with pytest.raises(UnknownNameError, match="shotz"):
        Method(name="x", factory="a:B", summary="", takes=("shotz",))
    with pytest.raises(InputError, match=r"package\.module:Class"):
        Method(name="x", factory="a.B", summary="")


def test_takers_of_an_option_are_named():
    assert takers_of("rule") == ("likelihood",)
    assert takers_of("transductive") == ("zero-shot",)
