"""ImageEmbedder: an encoder as a scikit-learn transformer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from showtell.classify.base import media_list
from showtell.encoders import Embeddings, Encoder, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.media import Media


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn images into embeddings, for pipelines with any scikit-learn estimator.

    Parameters
    ----------
    encoder : str or Encoder, default="mini"
        A name that `load_encoder` takes, or an object. Objects are shared by ``clone``, never
        copied.
    on_error : {"raise", "nan"}, default="raise"
        What an unusable image does: stop everything, or become a row of NaN, for estimators that
        take missing values or an imputer.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are kept: the folds of a cross-validation embed each image once.

    Attributes
    ----------
    n_dims_ : int
        Width of an embedding.
    encoder_fingerprint_ : str

    Notes
    -----
    Stateless: `fit` looks at no image.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from showtell.testing import WordEncoder
    >>> embedder = ImageEmbedder(WordEncoder(["stripes", "spots"]))
    >>> clf = make_pipeline(embedder, LogisticRegression())
    >>> clf = clf.fit(["stripes", "spots"], ["tiger", "cow"])
    >>> clf.predict(["two spots"])
    array(['cow'], dtype='<U5')
    >>> embedder.fit().get_feature_names_out()
    array(['imageembedder0', 'imageembedder1', 'imageembedder2'], dtype=object)
    """

    def __init__(
        self,
        encoder: str | Encoder = "mini",
        *,
        on_error: Literal["raise", "nan"] = "raise",
        store: Store = "default",
    ) -> None:
        self.encoder = encoder
        self.on_error = on_error
        self.store = store

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:  # noqa: ARG002
        """Load the encoder; X and y are not looked at."""
        if self.on_error not in ("raise", "nan"):
            raise InputError(f"`on_error` is 'raise' or 'nan', got {self.on_error!r}.")
        encoder = load_encoder(self.encoder)
        self.n_dims_ = int(encoder.n_dims)
        self.encoder_fingerprint_ = encoder.fingerprint
        return self

    def transform(self, X: Sequence[Media]) -> Embeddings:
        """Embed images.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        embeddings : ndarray of shape (n_samples, n_dims), float32
            Rows of length 1.

        Raises
        ------
        InputError
            If an image could not be used and `on_error` is "raise".
        """
        check_is_fitted(self)
        encoder = load_encoder(self.encoder)
        if encoder.fingerprint != self.encoder_fingerprint_:
            raise InputError(
                f"This ImageEmbedder was fitted with encoder fingerprint "
                f"{self.encoder_fingerprint_!r}, but its encoder now is {encoder.fingerprint!r}. "
                "Call `fit` again."
            )
        found = embed_images(encoder, media_list(X), store=self.store)
        if found.errors and self.on_error == "raise":
            raise InputError(
                f"{len(found.errors)} of {len(found)} images could not be used; the first: "
                f"{found.errors[min(found.errors)]}. Leave them out or set `on_error='nan'`."
            )
        return found.rows()

    @property
    def _n_features_out(self) -> int:
        """Width of the output, for `get_feature_names_out`."""
        return self.n_dims_

    def __sklearn_clone__(self) -> Self:
        """Clone as scikit-learn does, but share the encoder and the store instead of copying."""
        shell = copy.copy(self)
        shell.encoder, shell.store = "mini", None
        twin: Self = BaseEstimator.__sklearn_clone__(shell)
        twin.encoder, twin.store = self.encoder, self.store
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = []
        return tags
