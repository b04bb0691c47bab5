"""DescriptionClassifier: what labels look like, in words, tells them apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import one_of, whole
from showtell.classify.base import media_list, read_given, say_limits_once
from showtell.classify.embedding.prompted import PromptedClassifier
from showtell.classify.estimator import check_is_fitted
from showtell.encoders import Encoder, embed_images, embed_texts, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media, media_name
from showtell.prompts import DescriptionSet, read_descriptions, resolve_templates
from showtell.prompts.descriptions.connectives import Compat, described_prompts
from showtell.prompts.descriptions.waffle import waffle_noise
from showtell.prompts.template import fill

DescriptionMethod: TypeAlias = Literal["dclip", "cupl", "waffle", "waffle+descriptions"]
Averaging: TypeAlias = Literal["auto", "similarity", "embedding"]
Descriptions: TypeAlias = DescriptionSet | Mapping[str, Any] | str | os.PathLike[str]
"""A description set, a mapping of label to descriptions, or a file of one."""

_METHODS = ("dclip", "cupl", "waffle", "waffle+descriptions")
_AVERAGINGS = ("auto", "similarity", "embedding")
_COMPATS = ("upstream", "None")


@dataclass(frozen=True, kw_only=True)
class Spoke:
    """What one prompt had to say about an image."""

    text: str
    """The description, or the whole prompt where there is none."""
    similarity: float
    """Cosine of the image with the prompt."""
    contribution: float
    """Its part in how far the label's score is above the mean score of all labels; the parts add
    up to that."""
    contrast: float
    """Similarity less the score of the rival."""


@dataclass(frozen=True, kw_only=True)
class DescriptionEvidence:
    """Why an image got its label: the descriptions that spoke for it, and for the runner-up."""

    image: str
    label: str
    rival: str
    """The label with the next best score."""
    score: float
    """Of the label; the mean similarity of its prompts, by weight (over `length` where embeddings
    are averaged)."""
    rival_score: float
    length: float
    """Length of the mean embedding of the label's prompts: 1 if they all say the same."""
    spoke: tuple[Spoke, ...]
    """For the label, most similar first."""
    rival_spoke: tuple[Spoke, ...]
    error: str | None = None
    """Why there is nothing else here, for an input that could not be used."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}: {self.error}"
        return (
            f"{self.image}: {self.label} ({self.score:.3f}) before {self.rival} "
            f"({self.rival_score:.3f}), most of all for {self.spoke[0].text!r} "
            f"({self.spoke[0].similarity:.3f})"
        )


class DescriptionClassifier(PromptedClassifier):
    r"""Classify images by descriptions of the labels; each answer says which of them spoke for it.

    Every description ``j`` of a label ``c`` makes a prompt with the embedding ``e_cj``. With the
    weighted mean ``m_c`` of these and an image embedding ``x``:

    - ``averaging="similarity"``: ``s(x, c) = mean_j <x, e_cj> = <x, m_c>`` (DCLIP, Waffle);
    - ``averaging="embedding"``: ``s(x, c) = cos(x, m_c)`` (CuPL).

    They differ by the factor ``|m_c| <= 1``, which is small where the prompts of a label disagree:
    mean similarity holds that against a label, mean embedding does not.

    Parameters
    ----------
    encoder : str or Encoder, default="mini"
        A name that `load_encoder` takes, or an object.
    labels : sequence of str, or None
        None takes the labels of `y` in `fit`, else those of the descriptions.
    descriptions : DescriptionSet, mapping or path, optional
        What labels look like; see `showtell.prompts.read_descriptions`. A label without any has
        its template alone. Not needed for ``method="waffle"``.
    method : {"dclip", "cupl", "waffle", "waffle+descriptions"}, default="dclip"
        - ``"dclip"``: one prompt per description.
        - ``"cupl"``: the same with sentences in mind, averaged as embeddings.
        - ``"waffle"``: random words and characters instead of descriptions, the same for every
          label: the control for all the others.
        - ``"waffle+descriptions"``: two thirds of `n_pairs` random pairs and as many descriptions
          drawn from those of the label, of which ``2 * n_pairs`` are kept for each label.
    averaging : {"auto", "similarity", "embedding"}, default="auto"
        "auto" is "embedding" for ``"cupl"`` and "similarity" for the others.
    template : str, default="a photo of a {label}"
        Start of every prompt.
    domain : str, optional
        What all labels are: "bird" starts prompts with "a photo of a bird: a {label}". None takes
        that of the description set; "" none at all.
    templates : str or sequence of str, optional
        Hand-written templates that are pooled with the prompts of the descriptions.
    templates_share : float, optional
        Weight of those templates together, 0 to 1; None counts every prompt the same.
    n_pairs : int, default=15
        Random pairs (of a word and a character description) for Waffle.
    abstain_below : float, optional
        Give no label where the best probability is lower.
    probability : {"encoder", "softmax", "sigmoid"}, default="encoder"
        As in `ZeroShotClassifier`.
    calibrate : bool or "auto", default="auto"
        As in `ZeroShotClassifier`.
    compat : {"upstream"}, optional
        Prompts as the published codes write them: connectives by first letters ("which is
        antennae"), "which has" and nothing for a label without descriptions, and their random
        lengths.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are kept.
    random_state : int, optional
        Draws the random descriptions; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_dims), float32
        The means ``m_c``; of length 1 where embeddings are averaged.
    prompts_ : dict of str to list of str
        What was embedded for each label.
    descriptions_ : DescriptionSet or None
        Of the labels, as they were used.
    texts_ : dict of str to list of str
        What `explain` calls each prompt: the description, where there is one.
    lengths_ : ndarray of shape (n_classes,), float32
        ``|m_c|`` of each label.
    temperature_, calibrated_, probability_, encoder_fingerprint_
        As in `ZeroShotClassifier`.

    See Also
    --------
    ZeroShotClassifier : Templates alone: what descriptions have to beat.

    Notes
    -----
    Much of what descriptions gain is that there are many prompts: compare with
    ``method="waffle"``, which has as many and no meaning.

    References
    ----------
    Menon & Vondrick (2023), arXiv:2210.07183 (DCLIP). Pratt et al. (2023), arXiv:2209.03320
    (CuPL). Roth et al. (2023), arXiv:2306.07282 (Waffle).

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> words = WordEncoder(["stripes", "spots", "mane"])
    >>> clf = DescriptionClassifier(
    ...     words, descriptions={"tiger": ["stripes"], "leopard": ["spots"], "lion": ["a mane"]}
    ... ).fit()
    >>> clf.predict(["something with spots"])
    array(['leopard'], dtype='<U7')
    >>> print(clf.explain(["it has a mane"])[0])
    it has a mane: lion (1.000) before tiger (0.000), most of all for 'a mane' (1.000)
    """

    def __init__(
        self,
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | None = None,
        descriptions: Descriptions | None = None,
        method: DescriptionMethod = "dclip",
        averaging: Averaging = "auto",
        template: str = "a photo of a {label}",
        domain: str | None = None,
        templates: str | Sequence[str] | None = None,
        templates_share: float | None = None,
        n_pairs: int = 15,
        abstain_below: float | None = None,
        probability: Literal["encoder", "softmax", "sigmoid"] = "encoder",
        calibrate: bool | Literal["auto"] = "auto",
        compat: Compat | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = labels
        self.descriptions = descriptions
        self.method = method
        self.averaging = averaging
        self.template = template
        self.domain = domain
        self.templates = templates
        self.templates_share = templates_share
        self.n_pairs = n_pairs
        self.abstain_below = abstain_below
        self.probability = probability
        self.calibrate = calibrate
        self.compat = compat
        self.store = store
        self.random_state = random_state

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Embed the prompts; with labelled images, take labels from them and calibrate.

        Parameters
        ----------
        X, y : optional
            As in `ZeroShotClassifier.fit`.

        Raises
        ------
        InputError
            If there are no labels or, where they are needed, no descriptions, or an argument is
            none of the allowed ones.
        """
        self._check_arguments()
        given = None if self.descriptions is None else read_descriptions(self.descriptions)
        known = self.labels
        if known is None and y is None and given is not None:
            known = list(given.labels)
        images, words, codes = read_given(X, y, known)
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        names = [name[0] for name in words.names]
        self.descriptions_ = None if given is None else given.restricted(names)
        if self.descriptions_ is not None and not self.descriptions_.n_descriptions:
            theirs = ", ".join(map(repr, list(given or ())[:5])) or "nobody"
            raise InputError(
                f"None of the {len(names)} labels has a description; the set describes {theirs}. "
                "Its labels must be spelled as yours are."
            )
        self._embed(encoder, names)
        self._take_scale(encoder)
        say_limits_once(encoder)
        self._calibrate(encoder, images, codes)
        return self

    def _check_arguments(self) -> None:
        one_of("method", self.method, _METHODS)
        one_of("averaging", self.averaging, _AVERAGINGS)
        if self.compat not in ("upstream", None):
            raise UnknownNameError("compat", str(self.compat), _COMPATS)
        if self.descriptions is None and self.method != "waffle":
            raise InputError(
                f"method={self.method!r} needs `descriptions`: a DescriptionSet, a mapping or a "
                "file. `showtell describe` writes one; method='waffle' needs none."
            )
        whole(1, n_pairs=self.n_pairs)
        share = self.templates_share
        if share is not None and (self.templates is None or not 0 < share < 1):
            raise InputError(
                f"`templates_share` is between 0 and 1 and goes with `templates`; got {share!r}."
            )
        self._check_rules()

    @property
    def _averages_embeddings(self) -> bool:
        if self.averaging == "auto":
            return self.method == "cupl"
        return self.averaging == "embedding"

    # Prompts

    def _start(self) -> str:
        """Start of every prompt, with ``{label}``."""
        domain = self.domain
        if domain is None and self.descriptions_ is not None:
            domain = self.descriptions_.domain
        if not domain:
            return self.template
        return domain_template(domain)

    def _texts(self, names: Sequence[str]) -> list[list[tuple[str, str, float]]]:
        """For each label: prompt, what it is called, and its weight."""
        seed, start = self._seed, self._start()
        noise: list[str] = []
        n_pairs = self.n_pairs
        if self.method != "dclip" and self.method != "cupl":
            if self.method == "waffle+descriptions":
                n_pairs = max(1, 2 * self.n_pairs // 3)
            noise = waffle_noise(names, n_pairs=n_pairs, random_state=seed, compat=self.compat)
        chosen = () if self.templates is None else resolve_templates(self.templates)
        return [self._texts_of(name, start, noise, chosen, seed) for name in names]

    def _texts_of(
        self, name: str, start: str, noise: Sequence[str], templates: Sequence[str], seed: int
    ) -> list[tuple[str, str, float]]:
        own: Sequence[str] = ()
        weights: Sequence[float] = ()
        if self.descriptions_ is not None and self.method != "waffle":
            own, weights = self.descriptions_[name], self.descriptions_.weights_of(name)
        if self.method == "waffle+descriptions" and own:
            rng = np.random.default_rng([seed % 2**63, *name.encode()])  # whatever its place
            share = np.asarray(weights) / sum(weights)
            drawn = [own[i] for i in rng.choice(len(own), size=len(noise), p=share)]
            pool = [*self._prompts(name, noise, start), *self._prompts(name, drawn, start)]
            called = [*noise, *drawn]
            kept = np.sort(rng.permutation(len(pool))[: 2 * self.n_pairs])
            found = [(pool[i], called[i], 1.0) for i in kept]
        elif self.method in ("waffle", "waffle+descriptions"):
            found = [
                (prompt, text, 1.0)
                for prompt, text in zip(self._prompts(name, noise, start), noise, strict=True)
            ]
        else:
            found = list(zip(self._prompts(name, own, start), own, weights, strict=True))
        if not found:
            plain = fill(start, name)
            prompt = f"{plain}, which has ." if self.compat == "upstream" else f"{plain}."
            found = [(prompt, prompt, 1.0)]
        if templates:
            total = sum(weight for _, _, weight in found)
            share_of = self.templates_share
            each = 1.0 if share_of is None else total * share_of / (1 - share_of) / len(templates)
            found += [(fill(t, name), fill(t, name), each) for t in templates]
        return found

    def _prompts(self, name: str, texts: Sequence[str], start: str) -> list[str]:
        """Make prompts of descriptions: phrases go with the label, sentences stand alone."""
        is_noise = self.method == "waffle"
        known = self.descriptions_
        if not is_noise and known is not None and known.kind == "sentences":
            own = set(known[name])
            return [
                text if text in own else described_prompts(name, [text], template=start)[0]
                for text in texts
            ]
        return described_prompts(name, texts, template=start, compat=self.compat)

    def _embed(self, encoder: Encoder, names: Sequence[str]) -> None:
        """Embed all prompts once, and average them."""
        texts = self._texts(names)
        distinct = list(dict.fromkeys(prompt for of in texts for prompt, _, _ in of))
        rows = embed_texts(encoder, distinct, store=self.store)
        row_of = {text: row for row, text in enumerate(distinct)}
        keys = [str(label) for label in self.classes_.tolist()]
        self.prompts_ = {k: [p for p, _, _ in of] for k, of in zip(keys, texts, strict=True)}
        self.texts_ = {k: [t for _, t, _ in of] for k, of in zip(keys, texts, strict=True)}
        self.weights_ = {k: [w for _, _, w in of] for k, of in zip(keys, texts, strict=True)}
        self._owners = np.repeat(np.arange(len(texts)), [len(of) for of in texts])
        flat = [row_of[prompt] for of in texts for prompt, _, _ in of]
        self.text_embeddings_ = rows[flat]
        self._average(encoder.name)

    def _average(self, encoder_name: str) -> None:
        means = np.empty((len(self.classes_), self.text_embeddings_.shape[1]), np.float64)
        for code, weights in enumerate(self.weights_.values()):
            share = np.asarray(weights, np.float64) / sum(weights)
            means[code] = share @ self.text_embeddings_[self._owners == code].astype(np.float64)
        lengths = np.linalg.norm(means, axis=1)
        if (lengths < 1e-6).any():
            label = self.classes_[int(lengths.argmin())]
            raise InputError(
                f"The descriptions of {label!r} cancel each other out for {encoder_name!r}; change "
                "them."
            )
        self.lengths_ = lengths.astype(np.float32)
        used = means / lengths[:, None] if self._averages_embeddings else means
        self.prototypes_ = used.astype(np.float32)

    # Evidence

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ("descriptions", "occlusion")

    @property
    def described_part(self) -> Self:
        """What goes by descriptions: itself."""
        return self

    def explain(
        self, X: Sequence[Media], *, n_most: int | None = None
    ) -> list[DescriptionEvidence]:
        """Say for each input which descriptions spoke for its label, and which for the runner-up.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        n_most : int, optional
            Descriptions of each label that are named, most similar first; None for all.

        Returns
        -------
        evidence : list of DescriptionEvidence, length n_samples
            In input order; unusable inputs have an `error`.

        Notes
        -----
        For ``averaging="similarity"`` the similarities of a label average, by weight, exactly to
        its score; for "embedding" they do after division by its `length`.

        References
        ----------
        Menon & Vondrick (2023), arXiv:2210.07183, section 3.
        """
        if len(self._checked_classes()) < 2:
            raise InputError("Evidence compares two labels, and there is only one.")
        images = media_list(X)
        found = embed_images(self._fitted_encoder(), images, store=self.store)
        scores = found.embeddings.astype(np.float64) @ self.prototypes_.T.astype(np.float64)
        order = np.argsort(-scores, axis=1, kind="stable")
        cosines = found.embeddings.astype(np.float64) @ self.text_embeddings_.T.astype(np.float64)
        evidence = []
        for row in range(len(found)):
            name, place = media_name(images[row]), int(found.distinct[row])
            if place < 0:
                line = " ".join(str(found.errors[row]).split())
                evidence.append(_unusable(name, line))
                continue
            first, second = int(order[place, 0]), int(order[place, 1])
            mean = float(scores[place].mean())
            ours, theirs = float(scores[place, first]), float(scores[place, second])
            evidence.append(
                DescriptionEvidence(
                    image=name,
                    label=str(self.classes_[first]),
                    rival=str(self.classes_[second]),
                    score=ours,
                    rival_score=theirs,
                    length=float(self.lengths_[first]),
                    spoke=self._spoke(cosines[place], first, mean, theirs)[:n_most],
                    rival_spoke=self._spoke(cosines[place], second, mean, ours)[:n_most],
                )
            )
        return evidence

    def _checked_classes(self) -> NDArray[Any]:
        check_is_fitted(self)
        return self.classes_

    def _spoke(
        self, cosines: NDArray[np.float64], code: int, mean: float, other: float
    ) -> tuple[Spoke, ...]:
        key = str(self.classes_[code])
        similar = cosines[self._owners == code]
        share = np.asarray(self.weights_[key], np.float64)
        share = share / share.sum()
        scale = 1.0 / float(self.lengths_[code]) if self._averages_embeddings else 1.0
        said = [
            Spoke(
                text=text,
                similarity=float(cosine),
                contribution=float(part * (cosine * scale - mean)),
                contrast=float(cosine - other),
            )
            for text, cosine, part in zip(self.texts_[key], similar, share, strict=True)
        ]
        return tuple(sorted(said, key=lambda one: -one.similarity))

    # Saving

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        if isinstance(self.descriptions, str | os.PathLike):  # a path belongs to a machine
            params["descriptions"] = self.descriptions_
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        values, arrays = super()._saved_state()
        values["texts"] = list(self.texts_.values())
        values["weights"] = list(self.weights_.values())
        arrays["text_embeddings"] = self.text_embeddings_
        arrays["lengths"] = self.lengths_
        return values, arrays

    def _saved_shapes(
        self, values: Mapping[str, Any], n_classes: int, n_dims: int
    ) -> dict[str, tuple[int | None, ...]]:
        shapes = super()._saved_shapes(values, n_classes, n_dims)
        n_texts = sum(len(texts) for texts in values["texts"])
        return {**shapes, "text_embeddings": (n_texts, n_dims), "lengths": (n_classes,)}

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        super()._restore_state(values, arrays)
        keys = [str(label) for label in self.classes_.tolist()]
        self.texts_ = {k: [str(t) for t in v] for k, v in zip(keys, values["texts"], strict=True)}
        self.weights_ = {
            k: [float(w) for w in v] for k, v in zip(keys, values["weights"], strict=True)
        }
        self._owners = np.repeat(np.arange(len(keys)), [len(v) for v in values["texts"]])
        self.text_embeddings_ = np.asarray(arrays["text_embeddings"], np.float32)
        self.lengths_ = np.asarray(arrays["lengths"], np.float32)
        given = self.descriptions
        self.descriptions_ = None if given is None else read_descriptions(given).restricted(keys)


def domain_template(domain: str) -> str:
    """Make the template that says first what all labels are.

    Examples
    --------
    >>> domain_template("bird")
    'a photo of a bird: a {label}'
    """
    return f"a photo of a {domain.replace('{', '{{').replace('}', '}}')}: a {{label}}"


def _unusable(name: str, error: str) -> DescriptionEvidence:
    return DescriptionEvidence(
        image=name,
        label="",
        rival="",
        score=float("nan"),
        rival_score=float("nan"),
        length=float("nan"),
        spoke=(),
        rival_spoke=(),
        error=error,
    )
