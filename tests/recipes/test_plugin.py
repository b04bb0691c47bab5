"""A package of somebody else adds a method: a row and a file, and nothing else is edited."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from showtell.classify import table
from showtell.cli.main import app
from showtell.errors import InputError
from showtell.recipes import Recipe
from showtell.testing import make_images

LABELS = ("red circle", "green triangle", "blue square")

CODE = '''
"""Labels pictures by their mean colour."""

import numpy as np

from showtell.classify.base import MediaClassifier, media_list
from showtell.classify.predictions import Predictions
from showtell.errors import MediaError
from showtell.media import load_image, media_name


class MeanColourClassifier(MediaClassifier):
    def __init__(self, *, labels=None, shots=None, abstain_below=None, random_state=None):
        self.labels, self.shots = labels, shots
        self.abstain_below, self.random_state = abstain_below, random_state

    def fit(self, X, y):
        self.classes_ = np.array(self.labels)
        colours, y = np.array([self._colour(image) for image in X]), np.asarray(y)
        self.colours_ = np.array([colours[y == label].mean(axis=0) for label in self.classes_])
        return self

    def _colour(self, image):
        return np.asarray(load_image(image), np.float64).reshape(-1, 3).mean(axis=0)

    def classify(self, X, *, progress=None):
        images = media_list(X)
        n, errors = len(images), {}
        proba = np.full((n, len(self.classes_)), np.nan, np.float32)
        for i, image in enumerate(images):
            try:
                distance = np.linalg.norm(self.colours_ - self._colour(image), axis=1)
            except MediaError as error:
                errors[i] = error.reason
                continue
            score = np.exp(-distance / 10)
            proba[i] = score / score.sum()
        return Predictions(
            images=[media_name(image) for image in images],
            classes=tuple(map(str, self.classes_)),
            codes=np.array([-1 if i in errors else proba[i].argmax() for i in range(n)], np.int32),
            confidence_all=proba.max(axis=1),
            status_codes=np.array([2 if i in errors else 0 for i in range(n)], np.int8),
            errors=errors,
            distinct_proba=proba,
            distinct=np.array([-1 if i in errors else i for i in range(n)]),
        )

    def _to_saved(self):
        raise NotImplementedError

    @classmethod
    def _from_saved(cls, saved, *, encoder, model):
        raise NotImplementedError
'''

ROW = """
from showtell.classify.table import Method

METHODS = [
    Method(
        name="mean-colour",
        factory="colourful.classifier:MeanColourClassifier",
        summary="The label whose pictures have the most alike mean colour.",
        needs=(),
        takes=("shots", "abstain_below"),
        learns="always",
        explains=("chances",),
    )
]
"""


def install(place: Path, package: str, row: str) -> None:
    """Write a package as pip would leave it: the files, and a .dist-info with an entry point."""
    (place / package).mkdir(parents=True)
    (place / package / "__init__.py").write_text("")
    (place / package / "rows.py").write_text(row)
    (place / package / "classifier.py").write_text(CODE)
    info = place / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[showtell.methods]\n{package} = {package}.rows:METHODS\n"
    )


@pytest.fixture
def fresh(monkeypatch):
    """Rows are looked for anew, and forgotten afterwards."""
    table._added.cache_clear()
    yield
    table._added.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "colourful"]:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path, monkeypatch, fresh):
    place = tmp_path / "site"
    install(place, "colourful", ROW)
    monkeypatch.syspath_prepend(str(place))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    make_images("shapes/train", labels=LABELS, n_per_label=4, seed=1)
    make_images("shapes/test", labels=LABELS, n_per_label=2, seed=50)


def run(*arguments):
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_a_plug_in_is_a_recipe_like_any_other(plugin):
    recipe = Recipe(method="mean-colour", options={"shots": 2})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert type(recipe.build(labelled())).__name__ == "MeanColourClassifier"
    with pytest.raises(InputError, match="does not take `templates`"):
        Recipe(method="mean-colour", options={"templates": "plain"})


def labelled():
    from showtell import load_dataset

    return load_dataset("shapes").train


def test_classify_uses_it(plugin):
    done = run("classify", "shapes/test", "--examples", "shapes/train", "-m", "mean-colour")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["label"] for row in rows] == [Path(row["image"]).parent.name for row in rows]


def test_evaluate_and_compare_measure_it(plugin):
    record = json.loads(run("evaluate", "shapes", "-m", "mean-colour", "-k", "2", "--json").stdout)
    assert record["accuracy"] == 1.0
    assert record["run"]["estimator"]["params"]["shots"] == 2
    compared = run("compare", "shapes", "--methods", "mean-colour,prototype", "--json")
    names = {one["name"] for one in json.loads(compared.stdout)["records"]}
    assert names == {"mean-colour", "prototype"}


def test_estimate_says_that_it_costs_nothing(plugin):
    done = run(
        "estimate", "shapes/test", "--examples", "shapes/train", "-m", "mean-colour", "--json"
    )
    said = json.loads(done.stdout)
    assert (said["n_images"], said["n_requests"], said["cost_usd_to_pay"]) == (6, 0, 0)


def test_explain_says_why(plugin):
    done = run(
        "explain", "shapes/test", "--method", "mean-colour", "--examples", "shapes/train",
        "--limit", "2", "--json",
    )  # fmt: skip
    assert len(json.loads(done.stdout)["explanations"]) == 2


@pytest.mark.parametrize("verb", ["classify", "evaluate", "compare", "estimate", "explain"])
def test_help_names_it(plugin, verb):
    assert "mean-colour" in run(verb, "--help-all").stdout


def test_the_table_of_the_documentation_has_its_row(plugin):
    script = Path(__file__).parents[2] / "scripts" / "methods_table.py"
    spec = importlib.util.spec_from_file_location("methods_table", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row = next(line for line in module.page().splitlines() if "mean-colour" in line)
    assert "The label whose pictures have the most alike mean colour." in row
    assert "`--shots` `--abstain-below`" in row


def test_a_refusal_lists_what_it_takes(plugin):
    result = CliRunner().invoke(
        app, ["classify", "shapes/test", "--examples", "shapes/train", "-m", "mean-colour",
              "--templates", "plain"],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "does not take --templates. It takes --shots, --abstain-below." in result.stderr


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ROW.replace("mean-colour", "linear"), "adds a method 'linear', which there is already"),
        ("METHODS = [3]", "should name a Method or a list of them; it holds int"),
        ("import nowhere_to_be_found", "cannot be loaded"),
    ],
)
def test_a_package_that_is_wrong_is_named_where_methods_are_listed(
    tmp_path, monkeypatch, fresh, row, said
):
    install(tmp_path / "site", "colourful", row)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(InputError, match=said) as caught:
        table.methods()
    assert "the package colourful" in str(caught.value)
    assert table.find_method("linear").factory.startswith("showtell.")
