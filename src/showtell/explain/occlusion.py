"""Which parts of a picture decide: cover them one after another and classify what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from showtell.checks import one_of, whole
from showtell.classify.capabilities import Embeds, PictureScorer
from showtell.classify.estimator import check_is_fitted
from showtell.encoders import load_encoder
from showtell.errors import InputError
from showtell.explain.drawing import heat_over
from showtell.explain.parts import Part, framed
from showtell.media import Media, open_image
from showtell.pages.thumbs import small_picture
from showtell.words import percent

Fill: TypeAlias = Literal["blur", "grey", "mean"]
Measure: TypeAlias = Literal["log-odds", "probability"]
_FILLS = ("blur", "grey", "mean")
_MEASURES = ("log-odds", "probability")
_LEAST = 0.01  # change of probability that is worth a word
_TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class OcclusionMap(Part):
    """How much the score of a label falls when parts of the picture are covered.

    The values are effects of covering one square at a time. They do not add up to the score, and
    two squares that tell the same may both seem not to matter.
    """

    kind: ClassVar[str] = "occlusion"
    label: str
    rival: str
    """The label with the next best score; "" if there is none."""
    measure: Measure
    fill: Fill
    base: float
    """Probability of `label` with nothing covered."""
    rival_base: float
    drop: NDArray[np.float64]
    """Shape (n_rows, n_columns): mean fall of the measure over the squares that cover a cell;
    negative where covering raises it."""
    rival_drop: NDArray[np.float64]
    """The same for `rival`."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """The squares that were covered: left, top, right, bottom as shares of width and height."""
    covered: tuple[float, ...]
    """Probability of `label` with each of the `boxes` covered."""
    rival_covered: tuple[float, ...]
    picture: bytes = field(repr=False)
    """A small WebP to draw on."""
    title: str = "Where it looks"

    @property
    def n_covered(self) -> int:
        """How many covered pictures were classified."""
        return len(self.boxes)

    def ranked(self) -> list[tuple[int, int]]:
        """List the cells as (row, column), those that matter most for `label` first."""
        order = np.argsort(-self.drop, axis=None, kind="stable")
        rows, columns = np.unravel_index(order, self.drop.shape)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def sentence(self) -> str:
        """Name the square whose loss costs the label most, and what becomes of it."""
        worst = int(np.argmin(self.covered))
        if self.base - self.covered[worst] < _LEAST:
            return (
                f"no single square decides: with any of them covered, {self.label} keeps at least "
                f"{percent(self.covered[worst])} of {percent(self.base)}"
            )
        return (
            f"covering the square {place_of(self.boxes[worst])} lowers {self.label} from "
            f"{percent(self.base)} to {percent(self.covered[worst])}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return settings, maps and what each covered square did."""
        return {
            "kind": self.kind,
            "title": self.title,
            "label": self.label,
            "rival": self.rival,
            "measure": self.measure,
            "fill": self.fill,
            "base": self.base,
            "rival_base": self.rival_base,
            "drop": self.drop.tolist(),
            "rival_drop": self.rival_drop.tolist(),
            "boxes": [list(box) for box in self.boxes],
            "covered": list(self.covered),
            "rival_covered": list(self.rival_covered),
        }

    def _panels(self) -> list[tuple[str, NDArray[np.float64]]]:
        """List the maps to draw: the rival's only where it is not the label's turned round."""
        panels = [(self.label, self.drop)]
        if self.rival and not np.allclose(self.rival_drop, -self.drop, atol=1e-6):
            panels.append((self.rival, self.rival_drop))
        return panels

    def _largest(self) -> float:
        """Value that is drawn strongest; noise is not blown up to full colour."""
        most = max(float(np.abs(heat).max()) for _, heat in self._panels())
        return max(most, 0.02)

    def to_html(self) -> Markup:
        """Draw the maps over the photo, for the label and for its rival."""
        largest = self._largest()
        figures = Markup("").join(
            Markup("<figure>{heat}<figcaption>for <b>{label}</b></figcaption></figure>").format(
                heat=heat_over(
                    self.picture,
                    heat,
                    largest=largest,
                    title=f"Where the picture speaks for {label}",
                ),
                label=label,
            )
            for label, heat in self._panels()
        )
        note = (
            f"{self.sentence()[:1].upper()}{self.sentence()[1:]}. Orange: covering it lowers the "
            f"label's {self.measure}; blue: raises it. {self.n_covered} squares were covered one "
            f"at a time ({self.fill}); effects do not add up."
        )
        return framed(self.title, Markup('<div class="maps">{}</div>').format(figures), note=note)


def occlusion_map(
    classifier: Any,
    image: Media,
    *,
    label: str | None = None,
    rival: str | None = None,
    grid: int = 8,
    window: int = 2,
    fill: Fill = "blur",
    measure: Measure = "log-odds",
) -> OcclusionMap:
    r"""Cover a picture square by square, and see what happens to the score of a label.

    With the picture ``x``, ``x \ w`` the picture with the square ``w`` covered, and a measure
    ``m`` of how much the classifier believes in label ``c``, the map at a cell ``i`` is the mean
    of ``m_c(x) - m_c(x \ w)`` over the squares ``w`` that cover ``i``.

    Parameters
    ----------
    classifier : EncoderClassifier
        Fitted. Of a `FusionClassifier` the encoder's own opinion is looked at.
    image : Media
        A picture, scaled down to three times what the encoder needs.
    label, rival : str, optional
        By default the two most probable ones.
    grid, window : int, default=8 and 2
        Cells along the longer side, and along the covered square, which moves by one cell.
    fill : {"blur", "grey", "mean"}, default="blur"
        A square shows the picture out of focus, middle grey, or the picture's mean colour.
    measure : {"log-odds", "probability"}, default="log-odds"
        ``log(p_c) - log(sum of the others)`` tells differences also where the classifier is sure.

    Returns
    -------
    map : OcclusionMap

    Raises
    ------
    MediaError, InputError
        If `image` is no picture, there is no encoder or no such label, or a size is out of range.

    References
    ----------
    Zeiler & Fergus (2014), arXiv:1311.2901, section 4.2.

    Examples
    --------
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.testing import ColourEncoder, draw_shape
    >>> picture = Image.new("RGB", (96, 96), (240, 240, 240))
    >>> picture.paste(draw_shape("red square", size=(32, 32)), (64, 0))
    >>> picture.paste(draw_shape("blue square", size=(32, 32)), (0, 64))
    >>> clf = ZeroShotClassifier(ColourEncoder(), labels=["red", "blue"]).fit()
    >>> found = occlusion_map(clf, picture, label="red", grid=3, window=1, fill="grey")
    >>> found.ranked()[0], found.ranked()[-1]
    ((0, 2), (2, 0))
    """
    check_is_fitted(classifier)
    _check_sizes(grid, window)
    one_of("fill", fill, _FILLS)
    one_of("measure", measure, _MEASURES)
    scorer = score_pictures(classifier)
    picture = working_picture(image, classifier)
    classes = list(map(str, classifier.classes_.tolist()))
    window = min(window, *(cells := _cells(picture.size, grid)))
    squares, boxes = _squares(*cells, window)
    filling = filling_of(picture, fill, window / max(cells))
    proba = scorer([picture, *(cover(picture, [box], filling) for box in boxes)])
    best, second = _two_labels(classes, proba[0], label, rival)

    def drop(code: int | None) -> NDArray[np.float64]:
        if code is None:
            return np.zeros(cells)
        values = measured(proba, code, measure)
        return _spread(values[0] - values[1:], squares, window, cells)

    return OcclusionMap(
        label=classes[best],
        rival="" if second is None else classes[second],
        measure=measure,
        fill=fill,
        base=float(proba[0, best]),
        rival_base=float("nan") if second is None else float(proba[0, second]),
        drop=drop(best),
        rival_drop=drop(second),
        boxes=tuple(boxes),
        covered=tuple(proba[1:, best].tolist()),
        rival_covered=() if second is None else tuple(proba[1:, second].tolist()),
        picture=small_picture(picture),
    )


def _squares(
    n_rows: int, n_columns: int, window: int
) -> tuple[list[tuple[int, int]], list[tuple[float, float, float, float]]]:
    """First row and column of every square, and its box in shares of height and width."""
    squares = [
        (row, column)
        for row in range(n_rows - window + 1)
        for column in range(n_columns - window + 1)
    ]
    boxes = [
        (c / n_columns, r / n_rows, (c + window) / n_columns, (r + window) / n_rows)
        for r, c in squares
    ]
    return squares, boxes


def score_pictures(classifier: Any) -> PictureScorer:
    """Return a function from pictures to probabilities, one row each, shape (n, n_classes).

    Pictures are scored by themselves, whatever mode for whole batches the classifier has, and
    nothing is kept. `InputError` if the classifier has no encoder.
    """
    if not isinstance(classifier, Embeds):
        raise InputError(
            f"Covering parts of a picture needs a classifier with an encoder; "
            f"{type(classifier).__name__} asks a model, which would have to be asked once a square."
        )
    return classifier.picture_scorer()


def working_picture(image: Media, classifier: Any) -> Image.Image:
    """Open a picture at a size that leaves the encoder nothing to miss and makes covering quick."""
    side = 3 * int(getattr(load_encoder(classifier.encoder), "input_side", 224))
    picture = open_image(image, min_side=side)
    short = min(picture.size)
    if short > side:
        width, height = (max(1, round(length * side / short)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return picture


def filling_of(picture: Image.Image, fill: Fill, share: float) -> Image.Image:
    """Make what covered squares show, of the size of the picture.

    A blur must be wider than what it hides: `share` is the side of a square, of the longer side.
    """
    if fill == "grey":
        return Image.new("RGB", picture.size, (128, 128, 128))
    if fill == "mean":
        red, green, blue = np.asarray(picture).reshape(-1, 3).mean(axis=0).round().astype(int)
        return Image.new("RGB", picture.size, (int(red), int(green), int(blue)))
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) * share / 2))


def cover(
    picture: Image.Image,
    boxes: Sequence[tuple[float, float, float, float]],
    filling: Image.Image,
) -> Image.Image:
    """Copy a picture with some boxes (shares of width and height) showing `filling` instead."""
    width, height = picture.size
    result = picture.copy()
    for left, top, right, bottom in boxes:
        box = (
            round(left * width),
            round(top * height),
            round(right * width),
            round(bottom * height),
        )
        result.paste(filling.crop(box), box[:2])
    return result


def measured(proba: NDArray[np.float32], code: int, measure: Measure) -> NDArray[np.float64]:
    """How much each row believes in a label, shape (n,)."""
    rows = np.asarray(proba, np.float64)
    if measure == "probability" or rows.shape[1] == 1:
        own: NDArray[np.float64] = rows[:, code]
        return own
    others = np.delete(rows, code, axis=1).sum(axis=1)
    odds: NDArray[np.float64] = np.log(np.maximum(rows[:, code], _TINY)) - np.log(
        np.maximum(others, _TINY)
    )
    return odds


def place_of(box: tuple[float, float, float, float]) -> str:
    """Say where a box is.

    Examples
    --------
    >>> place_of((0.0, 0.0, 0.2, 0.2)), place_of((0.4, 0.4, 0.6, 0.6)), place_of((0.8, 0.4, 1, 0.6))
    ('at the top left', 'in the middle', 'at the right')
    """
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    across = "left" if x < 0.36 else "right" if x > 0.64 else ""
    down = "top" if y < 0.36 else "bottom" if y > 0.64 else ""
    place = " ".join(filter(None, (down, across)))
    return f"at the {place}" if place else "in the middle"


def _check_sizes(grid: int, window: int) -> None:
    whole(1, grid=grid, window=window)
    if not 2 <= grid <= 64:
        raise InputError(f"`grid` is 2 to 64 cells along the longer side; got {grid}.")
    if window >= grid:
        raise InputError(f"`window` ({window}) must be smaller than `grid` ({grid}).")


def _cells(size: tuple[int, int], grid: int) -> tuple[int, int]:
    """Rows and columns of about square cells, `grid` along the longer side."""
    width, height = size
    longer = max(width, height)
    return max(1, round(grid * height / longer)), max(1, round(grid * width / longer))


def _spread(
    values: NDArray[np.float64],
    squares: Sequence[tuple[int, int]],
    window: int,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Mean over the squares that cover each cell."""
    total, count = np.zeros(shape), np.zeros(shape)
    for value, (row, column) in zip(values.tolist(), squares, strict=True):
        total[row : row + window, column : column + window] += value
        count[row : row + window, column : column + window] += 1
    mean: NDArray[np.float64] = total / np.maximum(count, 1)
    return mean


def _two_labels(
    classes: Sequence[str], row: NDArray[np.float32], label: str | None, rival: str | None
) -> tuple[int, int | None]:
    """Codes of the label and of its rival."""
    order = np.argsort(-row, kind="stable").tolist()
    best = order[0] if label is None else _code_of(classes, label)
    if rival is not None:
        second: int | None = _code_of(classes, rival)
        if second == best:
            raise InputError(f"`label` and `rival` are both {rival!r}; give two labels.")
    else:
        second = next((code for code in order if code != best), None)
    return best, second


def _code_of(classes: Sequence[str], label: str) -> int:
    one_of("label", label, classes)
    return list(classes).index(label)
