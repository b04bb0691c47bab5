"""ImageEmbedder: an encoder in scikit-learn pipelines."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from showtell.classify import ImageEmbedder
from showtell.errors import InputError
from showtell.testing import ColourEncoder, HashEncoder, WordEncoder, draw_shape, make_images


@pytest.fixture
def shapes(tmp_path):
    paths = make_images(tmp_path / "shapes", n_per_label=6)
    return paths, [path.parent.name for path in paths]


def test_rows_are_the_embeddings_in_order(encoder):
    X = ["cat", "dog on grass", "cat"]
    rows = ImageEmbedder(encoder).fit_transform(X)
    np.testing.assert_array_equal(rows, WordEncoder(encoder.vocabulary).encode_images(X))
    assert rows.dtype == np.float32
    assert encoder.images_seen == ["cat", "dog on grass"]


def test_a_pipeline_with_any_estimator(shapes):
    X, y = shapes
    pipe = make_pipeline(ImageEmbedder(ColourEncoder()), LogisticRegression(C=100))
    assert cross_val_score(pipe, X, y, cv=3).tolist() == [1, 1, 1]
    pipe.fit(X, y)
    assert pipe.predict([draw_shape("blue square")]).tolist() == ["blue square"]


def test_a_grid_search_embeds_each_picture_once(shapes):
    X, y = shapes
    encoder = HashEncoder()
    pipe = make_pipeline(ImageEmbedder(encoder), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [1, 10, 100]}, cv=3).fit(X, y)
    assert search.best_estimator_[0].encoder is encoder
    assert encoder.n_encoded == len(X)  # 3 folds, 3 settings, one final fit


def test_names_and_frames(encoder):
    embedder = ImageEmbedder(encoder).fit()
    names = embedder.get_feature_names_out()
    assert names[0] == "imageembedder0"
    assert len(names) == embedder.n_dims_ == encoder.n_dims
    pd = pytest.importorskip("pandas")
    frame = embedder.set_output(transform="pandas").transform(["cat", "dog"])
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names.tolist()
    column = pd.Series(["cat", "dog"], index=[7, 3])
    np.testing.assert_array_equal(embedder.transform(column), frame)


def test_unusable_images_raise_or_become_nan(encoder):
    with pytest.raises(InputError, match="1 of 2 images could not be used"):
        ImageEmbedder(encoder).fit_transform(["cat", " "])
    rows = ImageEmbedder(encoder, on_error="nan").fit_transform(["cat", " "])
    assert np.isnan(rows).all(axis=1).tolist() == [False, True]
    with pytest.raises(InputError, match="'raise' or 'nan'"):
        ImageEmbedder(encoder, on_error="skip").fit()


def test_the_contract_of_a_transformer(encoder):
    embedder = ImageEmbedder(encoder, store=None)
    with pytest.raises(NotFittedError):
        embedder.transform(["cat"])
    assert embedder.fit(["never looked at"]) is embedder
    assert encoder.images_seen == []
    twin = clone(embedder)
    assert twin.encoder is encoder
    assert twin.get_params(deep=False) == embedder.get_params(deep=False)
    assert not hasattr(twin, "n_dims_")
    assert embedder.transform([]).shape == (0, encoder.n_dims)
    np.testing.assert_array_equal(
        copy.deepcopy(embedder).transform(["cat"]), embedder.transform(["cat"])
    )
    assert not get_tags(embedder).input_tags.two_d_array
    with pytest.raises(InputError, match="one image"):
        embedder.transform("cat")


def test_another_encoder_after_fit_is_noticed(encoder):
    embedder = ImageEmbedder(encoder).fit()
    embedder.set_params(encoder=WordEncoder(["x"]))
    with pytest.raises(InputError, match="Call `fit` again"):
        embedder.transform(["cat"])
