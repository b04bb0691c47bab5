"""Take the pictures of docs/how-to/explain.md: a tree of clues, and a photo with its reasons.

    python scripts/explain_pictures.py [--sets ../shared/datasets]

The tree is of the set "dog_breeds" (none of its photos is shown), the photo is one of examples/.
Writes docs/_static/explain_*.png. Needs the extra `explain` and Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import showtell as st
from showtell.classify import ConceptClassifier
from showtell.explain import concept_overview, write_explanations

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "docs" / "_static"


def shoot(
    page: Path, name: str, *, scheme: str, box: str, height: int, click: str | None = None
) -> None:
    """Open a page, and keep the picture of one element with few colours."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    target = STATIC / name
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1120, "height": height}, color_scheme=scheme)
        tab.goto(page.as_uri())
        if click is not None:
            tab.locator(click).click()
        tab.wait_for_timeout(300)
        tab.locator(box).first.screenshot(path=str(target))
        browser.close()
    with Image.open(target) as image:
        image.convert("RGB").quantize(192).save(target, optimize=True)
    print(target, target.stat().st_size)


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    given = parser.parse_args()
    sets = given.sets.resolve()
    os.chdir(ROOT)  # pages show the names of photos as they are given
    STATIC.mkdir(exist_ok=True)
    data = st.load_dataset(sets / "dog_breeds")
    tree = ROOT / "benchmarks" / "concepts" / "dog_breeds.json"
    clf = ConceptClassifier("mini", concepts=tree, head="forest", random_state=0)
    clf.fit(data.train.images, data.train.y)
    overview = concept_overview(clf, data.test.images, data.test.y)
    with tempfile.TemporaryDirectory() as folder:
        page = write_explanations([], Path(folder) / "tree.html", overview=overview)
        shoot(
            page,
            "explain_tree.png",
            scheme="light",
            box="#parts .panel",
            height=1200,
            click="#tree .title >> text=muzzle",
        )
        labels = ["bird", "cat", "dog", "fish", "flower"]
        zero_shot = st.ZeroShotClassifier("mini", labels=labels).fit()
        found = st.explain(zero_shot, ["examples/photos/cat/playing_kitten.jpg"], y=["cat"])
        page = write_explanations(found, Path(folder) / "cat.html")
        shoot(page, "explain_photo.png", scheme="dark", box="#picture", height=900)


if __name__ == "__main__":
    main()
