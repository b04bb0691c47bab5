"""What happens in this clip? Answers with the moments they rest on, from a server on this machine.

The clip is drawn, so that a local server can look at it; with a model of your own take
`st.Model("google:gemini-2.5-flash", max_cost=1)` and a clip of yours.
"""

import tempfile
from pathlib import Path

import showtell as st
from showtell.testing import servers
from showtell.testing.world import draw_street, speak, write_clip

houses = [("blue", "BAKERY"), ("red", "HOTEL SOL"), ("green", "BUS 28")]
walk = [draw_street(wall, sign, moved=i) for wall, sign in houses for i in range(10)]
questions = [
    "Which signs are there?",
    "What colour is the wall beside the sign HOTEL SOL?",
    "What comes after BAKERY?",
    "Which language is spoken?",
    "How many apples?",
]

with tempfile.TemporaryDirectory() as folder, servers.LocalServer("ollama") as server:
    clip = Path(folder) / "walk.mp4"
    clip.write_bytes(write_clip(walk, rate=5, sound=speak("BONJOUR, NOUS VISITONS")))
    (Path(folder) / "walk.srt").write_text(
        "1\n00:00:00,000 --> 00:00:02,000\nBonjour, nous visitons\n"
    )
    model = st.Model("ollama:try", base_url=server.base_url, cache=None)
    answers = st.ask(model, [clip], questions)
    print(answers[0].converted[0].rpartition("(")[2].rstrip(")"))
    for answer in answers:
        print(f"{answer.question}  {answer.sentence()}  {', '.join(answer.evidence)}")
    later = st.ask(model, st.Clip(clip, start="0:02"), "Which signs are there?")
    print("From 0:02 on:", later.text)
