"""Ask why: where an encoder looks, which photos are alike, which clues count; a page to click.

    python examples/10_why_this_label.py [PHOTO] [OUTPUT FOLDER]

The photo is compared with the example photos. The clues come from a small tree written by hand;
`showtell concepts` has a model write one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import showtell as st
from showtell.explain import concept_overview, write_explanations

PHOTOS = Path(__file__).parent / "photos"
ANIMALS = ["bear", "bird", "cat", "dog", "fish"]
TREE = {
    "domain": "animal",
    "parts": [
        {
            "part": "head",
            "attributes": {"shape": ["round", "narrow"]},
            "children": [
                {"part": "ear", "attributes": {"shape": ["pointed", "rounded", "floppy"]}},
                {"part": "mouth", "attributes": {"form": ["beak", "muzzle", "lips"]}},
            ],
        },
        {
            "part": "coat",
            "attributes": {
                "material": ["fur", "feathers", "scales"],
                "colour": ["white", "black", "brown", "orange", "red"],
            },
        },
        {"part": "body", "attributes": {"size": ["small", "large"], "limbs": ["legs", "fins"]}},
    ],
}


def main(photo: Path, out: Path) -> None:
    photos = st.load_dataset(PHOTOS)
    others = np.array([Path(image) != photo for image in photos.images])
    photos = photos[np.isin(photos.y, ANIMALS) & others]

    few_shot = st.FewShotClassifier("mini").fit(photos.images, photos.y)
    [why] = st.explain(few_shot, [photo], examples=photos)
    print(why)

    by_clues = st.ConceptClassifier("mini", concepts=TREE).fit(photos.images, photos.y)
    [why] = st.explain(by_clues, [photo], examples=photos)
    print(why)

    found = st.explain(by_clues, photos.images, y=photos.y, examples=photos)
    out.mkdir(exist_ok=True)
    page = write_explanations(found, out / "why.html", overview=concept_overview(by_clues))
    print("page:", page)


if __name__ == "__main__":
    photo = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS / "cat" / "playing_kitten.jpg"
    main(photo, Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out"))
