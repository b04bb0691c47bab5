"""Description sets, the prompts made of them, and the random ones that control for them."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell._clean import escaped
from showtell.errors import InputError, UnknownNameError
from showtell.prompts import (
    DescriptionSet,
    Provenance,
    WaffleShape,
    common_words,
    connect,
    described_prompts,
    read_descriptions,
    waffle_noise,
    waffle_shape,
)

ANIMALS = DescriptionSet(
    {"tiger": ("orange fur", "black stripes"), "zebra": ("a striped coat",), "eel": ()},
    weights={"tiger": (1.0, 2.5)},
    domain="animal",
    provenance=Provenance(source="a keeper", date="2026-11-21"),
)

TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
).map(lambda text: " ".join(text.split()))
SETS = st.dictionaries(
    TEXT.filter(bool), st.lists(TEXT.filter(bool), max_size=4).map(tuple), min_size=1, max_size=4
)


@pytest.mark.parametrize("ending", [".json", ".yaml", ".yml"])
def test_a_file_gives_back_the_whole_set(tmp_path, ending):
    assert read_descriptions(ANIMALS.write(tmp_path / f"set{ending}")) == ANIMALS


def test_csv_keeps_labels_texts_and_weights(tmp_path):
    path = ANIMALS.write(tmp_path / "set.csv")
    back = read_descriptions(path)
    assert dict(back) == dict(ANIMALS)
    assert back.weights == ANIMALS.weights
    assert path.read_text().splitlines()[0] == "label,description,weight"


@given(texts=SETS)
def test_json_and_csv_give_back_any_texts(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("sets")
    for ending in (".json", ".csv"):
        back = read_descriptions(DescriptionSet(texts).write(folder / f"set{ending}"))
        if ending == ".json":
            assert dict(back) == texts
        else:  # a cell loses the spaces around it, and shows what would steer a terminal
            assert [escaped(t).strip() for v in texts.values() for t in v] == [
                t for v in back.values() for t in v
            ]


@given(text=st.text(max_size=200))
@pytest.mark.parametrize("ending", [".json", ".csv", ".yaml"])
def test_any_file_is_a_set_or_a_clear_error(tmp_path_factory, ending, text):
    path = tmp_path_factory.mktemp("fuzz") / f"any{ending}"
    path.write_text(text, encoding="utf-8")
    try:
        found = read_descriptions(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        found.check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "must hold an object of label to descriptions, got list"),
        ('{"cat": [3]}', "'cat' has the entry 3"),
        ('{"cat": [""]}', "which is no text"),
        ('{"cat": [{"text": "fur", "weight": -1}]}', "one positive number for each"),
        ('{"showtell": "descriptions-9", "descriptions": {}}', "reads 'descriptions-1'"),
        ("{", "not valid JSON"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, words):
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_descriptions(tmp_path / "set.json")


def test_other_endings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"\.json, \.csv, \.yaml, \.yml; got"):
        ANIMALS.write(tmp_path / "set.txt")


def test_a_csv_without_the_columns_says_which_there_are(tmp_path):
    (tmp_path / "set.csv").write_text("name,text\ncat,fur\n")
    with pytest.raises(InputError, match="it has: name, text"):
        read_descriptions(tmp_path / "set.csv")


def test_a_label_that_stands_twice_in_a_file_is_reported(tmp_path):
    (tmp_path / "set.json").write_text('{"missile": ["fins"], "eel": ["slime"], "missile": ["x"]}')
    found = read_descriptions(tmp_path / "set.json")
    assert found["missile"] == ("x",)
    [note] = found.check()
    assert (note.kind, note.label) == ("repeated-label", "missile")


def test_every_oddity_is_named_once():
    odd = DescriptionSet(
        {
            "cat": ("fur", "Fur.", "smaller than a dog"),
            "dog": (),
            "wolf": ("grey coat",),
            "coyote": ("Grey coat",),
            "bear": ("brown",),
            "bear cub": ("a small bear", "round ears"),
            "unicorn": ("one horn",),
        }
    )
    labels = ["cat", "dog", "wolf", "coyote", "bear", "bear cub", "fox"]
    found = [(n.kind, n.label) for n in odd.check(labels, n_least=2, n_most=2)]
    assert found == [
        ("missing-label", "fox"),
        ("unknown-label", "unicorn"),
        ("repeated-description", "cat"),
        ("names-other-label", "cat"),
        ("count", "cat"),
        ("no-descriptions", "dog"),
        ("count", "wolf"),
        ("count", "coyote"),
        ("same-descriptions", "coyote"),
        ("count", "bear"),
    ]


def test_texts_longer_than_the_encoder_reads_are_reported():
    notes = ANIMALS.check(count_tokens=lambda text: len(text.split()), max_tokens=2)
    assert [(n.kind, n.text) for n in notes if n.kind == "too-long"] == [
        ("too-long", "a striped coat")
    ]


def test_repeats_can_be_taken_out_and_their_weights_add_up():
    twice = DescriptionSet({"cat": ("fur", "ears", "Fur")}, weights={"cat": (1.0, 1.0, 2.0)})
    once = twice.without_repeats()
    assert once["cat"] == ("fur", "ears")
    assert once.weights_of("cat") == (3.0, 1.0)


def test_a_diff_ignores_order_and_spelling():
    later = ANIMALS.with_texts({"tiger": ["Black stripes", "a long tail"]})
    diff = ANIMALS.diff(later)
    assert diff.added == {"tiger": ("a long tail",)}
    assert diff.removed == {"tiger": ("orange fur",)}
    assert diff.n_kept == 2
    assert not ANIMALS.diff(ANIMALS)


def test_changed_labels_lose_their_weights_and_others_keep_them():
    assert ANIMALS.with_texts({"eel": ["slime"]}).weights == ANIMALS.weights
    assert ANIMALS.with_texts({"tiger": ["fur"]}).weights == {}


def test_sets_are_values():
    assert pickle.loads(pickle.dumps(ANIMALS)) == ANIMALS
    with pytest.raises(TypeError):
        ANIMALS.texts["tiger"] = ()


def test_sentences_are_told_from_phrases():
    assert read_descriptions({"cat": ["A cat has fur.", "Cats purr."]}).kind == "sentences"
    assert read_descriptions({"cat": ["fur", "whiskers"]}).kind == "phrases"
    with pytest.raises(UnknownNameError, match="phrases"):
        DescriptionSet({"cat": ()}, kind="poems")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_labels", "n_descriptions", "least", "most"),
    [
        ("imagenet", 1000, 5800, 2, 11),
        ("cub", 200, 1312, 4, 9),
        ("food101", 101, 499, 0, 12),
        ("pets", 37, 246, 5, 10),
        ("dtd", 47, 193, 2, 9),
        ("eurosat", 10, 25, 1, 4),
        ("flowers102", 102, 626, 4, 8),
    ],
)
def test_published_sets_load_as_published(
    shared_datasets, name, n_labels, n_descriptions, least, most
):
    path = shared_datasets.parent / "data" / "descriptors" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no {path.name} among the shared data")
    found = read_descriptions(path)
    counts = [len(texts) for texts in found.values()]
    assert (len(found), found.n_descriptions) == (n_labels, n_descriptions)
    assert (min(counts), max(counts)) == (least, most)
    assert found.kind == "phrases"
    assert found == read_descriptions(json.loads(path.read_text()))


@pytest.mark.data
def test_published_oddities_are_reported(shared_datasets):
    folder = shared_datasets.parent / "data" / "descriptors"
    food = read_descriptions(folder / "food101.json").check()
    empty = [note.label for note in food if note.kind == "no-descriptions"]
    assert empty == ["donuts", "french fries", "fried calamari", "mussels", "oysters"]
    birds = read_descriptions(folder / "cub.json").check()
    assert [(n.kind, n.label) for n in birds] == [("same-descriptions", "Rock Wren")]


# Prompts of descriptions (METHODS 2.7)


@pytest.mark.parametrize(
    ("description", "clause", "upstream"),
    [
        ("a long tail", "which is a long tail", "which is a long tail"),
        ("antennae", "which has antennae", "which is antennae"),
        ("may be striped", "which may be striped", "which may be striped"),
        ("mayonnaise", "which has mayonnaise", "which mayonnaise"),
        ("used for cooking", "which is used for cooking", "which is used for cooking"),
        ("An orange beak", "which is An orange beak", "which is An orange beak"),
        ("cannons", "which has cannons", "which cannons"),
    ],
)
def test_the_first_word_chooses_the_connective(description, clause, upstream):
    assert connect(description) == clause
    assert connect(description, compat="upstream") == upstream


@pytest.mark.data
def test_prefixes_misroute_as_many_published_descriptions_as_counted(shared_datasets):
    path = shared_datasets.parent / "data" / "descriptors" / "imagenet.json"
    texts = [text for found in read_descriptions(path).values() for text in found]
    other = [t for t in texts if connect(t) != connect(t, compat="upstream")]
    assert sum(t.lower().startswith("a") for t in other) == 39
    assert len(other) == 42


def test_prompts_keep_the_template_and_put_the_full_stop_last():
    assert described_prompts("tiger", ["orange fur"], template="a {label} at the zoo.") == [
        "a tiger at the zoo, which has orange fur."
    ]
    assert described_prompts("tiger", ["orange fur"], connectives=False, after="") == [
        "a photo of a tiger, orange fur"
    ]
    assert described_prompts("tiger", []) == []


# Waffle (METHODS 4.7)


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        (["tiger cat", "goldfish", "great white shark"], (2, 6, 2, 4)),
        (["tiger_cat", "goldfish", "great_white_shark"], (2, 6, 1, 13)),
        (["cat", "dog"], (1, 3, 1, 4)),
    ],
)
def test_published_shapes(labels, shape):
    found = waffle_shape(labels, compat="upstream")
    names = ("n_words", "word_length", "n_groups", "group_length")
    assert found == WaffleShape(**dict(zip(names, shape, strict=True)))


def test_noise_is_the_same_for_the_same_seed_and_has_the_shape():
    labels = ["tiger cat", "goldfish", "great white shark"]
    noise = waffle_noise(labels, random_state=3)
    assert noise == waffle_noise(labels, random_state=3)
    assert noise != waffle_noise(labels, random_state=4)
    assert len(noise) == 30
    for words, signs in zip(noise[::2], noise[1::2], strict=True):
        assert len(words.split()) == 2
        assert all(len(word) <= 6 for word in words.split())
        assert [len(group) for group in signs.split(", ")] == [3, 3]


def test_the_words_are_clean():
    words = common_words()
    assert len(words) > 1000
    assert all(word.isalpha() and word.islower() for word in words)


def test_noise_needs_something_to_draw_from():
    with pytest.raises(InputError, match="at least one word"):
        waffle_noise(["cat"], words=[])
    with pytest.raises(InputError, match="at least 1, got 0"):
        waffle_noise(["cat"], n_pairs=0)


@pytest.mark.parametrize("more", [{}, {"showtell": "concepts-1"}])
def test_a_concept_tree_is_told_from_descriptions(tmp_path, more):
    file = tmp_path / "tree.json"
    tree = {"domain": "bird", "parts": [{"part": "beak", "attributes": {"shape": ["long"]}}]}
    file.write_text(json.dumps({**tree, **more}))
    with pytest.raises(InputError, match="is a concept tree, not descriptions"):
        read_descriptions(file)


def test_labels_called_domain_and_parts_are_labels(tmp_path):
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({"domain": ["a map"], "parts": ["many pieces"]}))
    assert list(read_descriptions(file)) == ["domain", "parts"]
