"""An encoder that somebody brought is not believed: what it answers is looked at first."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

import showtell as st
from showtell.encoders import EmbeddingStore, PixelEncoder, embed_images, embed_texts, load_encoder
from showtell.errors import InputError, RunError
from showtell.testing import WordEncoder, draw_shape


class Brought(WordEncoder):
    """Sees "cat" and "dog"; `odd` is done to whatever it answers."""

    def __init__(self, odd=None, **attributes):
        super().__init__(["cat", "dog"])
        self.odd = odd or (lambda rows: rows)
        for name, value in attributes.items():
            setattr(self, name, value)

    def encode_texts(self, texts):
        return self.odd(super().encode_texts(texts))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("logit_scale", v)
            for v in (NAN, INF, -INF, -100.0, 0, 1e-300, 1e300, None, "100", True)
        ],
        *[("logit_bias", v) for v in (NAN, INF, -1e300, None, "0", [1.0, 2.0])],
        *[("name", v) for v in (None, "", "  ", 7, b"mine")],
        *[("fingerprint", v) for v in (None, "", 7)],
        *[("n_dims", v) for v in (0, -3, 2.0, None, True, "3", NAN)],
        *[("probability", v) for v in (None, "both", ["softmax"])],
        ("zero_shot_note", None),
    ],
)
def test_an_attribute_that_cannot_be_is_refused_by_name(name, value):
    encoder = Brought(**{name: value})
    for use in (
        lambda: load_encoder(encoder),
        lambda: embed_images(encoder, ["a cat"]),
        lambda: embed_texts(encoder, ["a cat"]),
        lambda: st.ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit(),
        lambda: st.FewShotClassifier(encoder).fit(["a cat", "a dog"], ["cat", "dog"]),
    ):
        with pytest.raises(InputError, match=rf"Brought\.{name} must be "):
            use()


@pytest.mark.parametrize("scale", [1, np.float32(100.0), np.array(5.0)])
def test_a_scale_may_be_any_single_number(scale):
    assert load_encoder(Brought(logit_scale=scale)).logit_scale == scale


ODD = {
    "zeros": lambda rows: rows * 0,
    "one row of zeros": lambda rows: np.concatenate([rows[:1] * 0, rows[1:]]),
    "NaN": lambda rows: rows * np.float32(NAN),
    "one NaN": lambda rows: np.where(np.arange(rows.size).reshape(rows.shape) == 1, NAN, rows),
    "infinite": lambda rows: rows + np.float32(INF),
    "beyond 64 bits": lambda rows: rows.astype(np.float64) * 1e308 * 1e308,
    "ragged": lambda rows: [[1.0], *([[1.0, 2.0]] * (len(rows) - 1)), [1.0, 2.0]],
    "narrow": lambda rows: rows[:, :2],
    "flat": lambda rows: rows.ravel(),
    "one too few": lambda rows: rows[1:],
    "one too many": lambda rows: np.concatenate([rows, rows[:1]]),
    "None": lambda rows: None,
    "a list of None": lambda rows: [[None] * rows.shape[1]] * len(rows),
    "texts": lambda rows: rows.astype(str),
    "complex": lambda rows: rows * 1j,
    "objects": lambda rows: rows.astype(object),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("odd", ODD)
def test_rows_that_have_no_direction_end_the_run_and_never_become_an_answer(odd):
    encoder = Brought(ODD[odd])
    with pytest.raises(RunError, match=r"Encoder .* answered 2 texts with "):
        embed_texts(encoder, ["a cat", "a dog"])
    with pytest.raises(RunError, match=r"Encoder .* answered \d+ (images|texts) with "):
        embed_images(encoder, ["a cat", "a dog"])
    with pytest.raises(RunError, match=r"Encoder .* answered "):
        st.ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    classifier = st.ZeroShotClassifier(Brought(), labels=["cat", "dog"]).fit()
    classifier.encoder.odd = ODD[odd]  # it breaks after it was fitted
    with pytest.raises(RunError, match=r"Encoder .* answered "):
        classifier.predict_proba(["a cat", "a dog"])


@pytest.mark.parametrize(
    "odd",
    [
        lambda rows: rows * 7,
        lambda rows: rows * 1e-30,
        lambda rows: rows.astype(np.float64) * 1e200,
        lambda rows: rows.astype(np.float16) * 100,
        lambda rows: (rows > 0).astype(np.int64) * 3,
        lambda rows: (rows * 2).tolist(),
    ],
)
def test_rows_of_another_length_are_scaled_to_1(odd):
    texts = ["a cat", "a dog"]
    np.testing.assert_allclose(embed_texts(Brought(odd), texts), [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    classifier = st.ZeroShotClassifier(Brought(odd), labels=["cat", "dog"]).fit()
    wanted = st.ZeroShotClassifier(Brought(), labels=["cat", "dog"]).fit()
    np.testing.assert_allclose(
        classifier.predict_proba(texts), wanted.predict_proba(texts), atol=1e-6
    )


def test_rows_that_are_of_length_1_stay_as_they_are():
    rows = np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.80003]], np.float32)
    got = embed_texts(Brought(lambda _: rows), ["a", "b"])
    np.testing.assert_array_equal(got, rows)


class Pixels(PixelEncoder):
    name, fingerprint, n_dims, input_side = "pixels", "pixels-1", 4, 8

    def __init__(self):
        self.n_calls = 0

    def prepare(self, image):
        return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)

    def encode_prepared(self, pixels):
        self.n_calls += 1
        rows = np.concatenate([pixels.mean(axis=(2, 3)), np.ones((len(pixels), 1))], axis=1)
        return rows.astype(np.float32)

    def encode_texts(self, texts):
        return np.ones((len(texts), 4), np.float32)


@pytest.mark.parametrize(
    "damage",
    [
        np.full(4, NAN, np.float32).tobytes(),
        np.zeros(4, np.float32).tobytes(),
        np.full(4, 1e30, np.float32).tobytes(),
        np.full(3, 0.5, np.float32).tobytes(),
        b"abc",
        b"",
        "text",
        None,
        7,
    ],
)
def test_a_store_that_somebody_wrote_into_is_not_believed(tmp_path, damage):
    store, encoder, image = tmp_path / "store.sqlite", Pixels(), draw_shape("red circle")
    first = embed_images(encoder, [image], store=store).embeddings
    assert embed_images(encoder, [image], store=store).n_from_store == 1
    with sqlite3.connect(store) as connection:
        if damage is None:
            connection.execute("UPDATE embedding SET used = 'never'")
        else:
            connection.execute("UPDATE embedding SET vector = ?", (damage,))
    connection.close()
    again = embed_images(encoder, [image], store=EmbeddingStore(store))
    np.testing.assert_array_equal(again.embeddings, first)
    assert again.n_from_store == 0
