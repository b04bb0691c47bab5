"""What importing showtell costs, and that the public names are what they say."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import showtell

ROOMS = (
    "media", "datasets", "encoders", "metrics", "prompts", "classify", "recipes", "evaluate",
    "explain", "runs", "tables",
)  # fmt: skip
HEAVY = {"torch", "transformers", "onnxruntime", "onnx", "pandas", "pyarrow", "sklearn", "scipy"}

PROBE = """
import json, socket, sys
opened = []
class Watched(socket.socket):
    def __init__(self, *args, **kwargs):
        opened.append(args)
        super().__init__(*args, **kwargs)
socket.socket = Watched
{code}
print(json.dumps([sorted({{name.partition(".")[0] for name in sys.modules}}), opened]))
"""


def loaded_by(code: str) -> tuple[set[str], list[object]]:
    """Top-level modules and sockets after running `code` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, text=True, check=True
    )
    modules, opened = json.loads(done.stdout.splitlines()[-1])
    return set(modules), opened


def test_import_loads_nothing_heavy_and_opens_no_socket():
    modules, opened = loaded_by("import showtell")
    assert "showtell" in modules
    assert modules & (HEAVY | {"numpy", "PIL", "rich", "typer", "jinja2"}) == set()
    assert opened == []


def test_command_line_loads_no_room_before_it_is_asked():
    modules, opened = loaded_by("import showtell.cli.main")
    assert "typer" in modules
    assert modules & (HEAVY | {"numpy", "PIL", "jinja2"}) == set()
    assert opened == []


def test_embedded_encoder_needs_no_torch_and_no_pandas():
    use = "import showtell; showtell.load_encoder('mini').encode_texts(['cat'])"
    modules, opened = loaded_by(use)
    assert "onnxruntime" in modules
    assert modules & {"torch", "transformers", "pandas", "pyarrow"} == set()
    assert opened == []


def test_a_classifier_loads_what_it_needs_and_none_of_the_others():
    code = (
        "import sys, json; from showtell.classify import DirectClassifier;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "showtell.classify.asking.direct" in loaded
    others = {"described", "evolving", "few_shot", "likelihood", "zero_shot", "tables"}
    ours = {name.rpartition(".")[2] for name in loaded if name.startswith("showtell.classify.")}
    assert "direct" in ours
    assert ours & others == set()
    assert loaded & {"sklearn.cluster", "showtell.datasets.boxes", "pydantic_ai", "torch"} == set()


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_public_list_names_exactly_what_exists(room):
    module = importlib.import_module(f"showtell.{room}" if room else "showtell")
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    missing = [name for name in names if not hasattr(module, name)]
    assert missing == []
    assert set(names) <= set(dir(module))


@pytest.mark.parametrize("room", ["", *ROOMS, "errors", "testing"])
def test_every_public_name_is_documented(room):
    module = importlib.import_module(f"showtell.{room}" if room else "showtell")
    undocumented = [
        name
        for name in module.__all__
        if (inspect.isclass(obj := getattr(module, name)) or inspect.isroutine(obj))
        and not (obj.__doc__ or "").strip()
    ]
    assert (module.__doc__ or "").strip()
    assert undocumented == []


@pytest.mark.parametrize("room", ["", *ROOMS, "testing"])
def test_every_parameter_of_a_public_function_is_documented(room):
    """A numpydoc section Parameters that leaves an argument out hides it."""
    module = importlib.import_module(f"showtell.{room}" if room else "showtell")
    silent = []
    for name in module.__all__:
        obj = getattr(module, name)
        if not inspect.isfunction(obj):
            continue
        text = inspect.getdoc(obj) or ""
        if "Parameters\n---" not in text:
            continue
        silent += [f"{name}({p})" for p in inspect.signature(obj).parameters if p not in text]
    assert silent == []


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        showtell.nonsense  # noqa: B018


def test_every_lazy_name_comes_from_the_room_it_is_listed_under():
    for name, room in showtell._ROOM_OF.items():
        assert name in importlib.import_module(f"showtell.{room}").__all__


def test_types_are_shipped():
    assert (Path(showtell.__file__).parent / "py.typed").is_file()


# ---- who imports whom ---------------------------------------------------------------------


def first_party_imports(source: Path) -> dict[str, set[str]]:
    """Who imports whom in a source tree, inside functions too; for type checkers only does not
    count."""
    files = {
        ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): file
        for file in source.rglob("*.py")
    }

    def imported(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                for other in child.orelse:
                    yield from imported(other)
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    name = f"{child.module}.{alias.name}"
                    yield name if name in files else str(child.module)
            yield from imported(child)

    return {
        name: set(imported(ast.parse(file.read_text("utf-8")))) & set(files) - {name}
        for name, file in files.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules of which each leads to each other."""
    reached = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        reached[start] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph}
    return sorted(sorted(group) for group in groups if group)


def test_no_module_imports_itself_in_a_circle():
    graph = first_party_imports(Path(showtell.__file__).parents[1])
    assert circles(graph) == []


def test_a_circle_through_a_function_is_found_and_one_for_type_checkers_is_none(tmp_path):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("from pkg.a import one\n")
    (package / "a.py").write_text("def one():\n    from pkg.b import two\n    return two\n")
    (package / "b.py").write_text("import pkg.c\n\ndef two():\n    return pkg.c\n")
    (package / "c.py").write_text("def three():\n    from pkg import a\n    return a\n")
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pkg.e\n"
    (package / "d.py").write_text(typed)
    (package / "e.py").write_text("import pkg.d\n")
    assert circles(first_party_imports(tmp_path)) == [["pkg.a", "pkg.b", "pkg.c"]]


def test_no_name_of_a_room_that_loads_on_use_is_a_file_there():
    """Importing such a file would put the module in the place of what it defines."""
    for room in ROOMS:
        module = importlib.import_module(f"showtell.{room}")
        loaded_late = " ".join(getattr(module, "_NAMES_OF", {}).values()).split()
        files = {file.stem for file in Path(str(module.__file__)).parent.iterdir()}
        assert set(loaded_late) & files == set(), room
