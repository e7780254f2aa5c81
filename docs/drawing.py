"""Draws docs/relations.svg and docs/relations.zh.svg: how RL, PPO, reward models and people relate.

python docs/drawing.py
"""

from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, BOX = 880, 440, (190, 84)
STYLE = """
  text { font: 15px system-ui, sans-serif; fill: #1b1b1b; text-anchor: middle }
  .small { font-size: 12.5px; fill: #555 }
  .page { fill: #fff; stroke: none }
  rect { fill: #f4f6f8; stroke: #4a5a6a; rx: 8 }
  .frame { fill: none; stroke: #9aa7b4; stroke-dasharray: 5 4 }
  path { fill: none; stroke: #4a5a6a; stroke-width: 1.6; marker-end: url(#tip) }
  #tip path { fill: #4a5a6a; stroke: none; marker-end: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #eee } .small { fill: #b5bcc4 } rect { fill: #23282d; stroke: #9fb0c0 }
    .page { fill: #16191c; stroke: none }
    path { stroke: #9fb0c0 } #tip path { fill: #9fb0c0 } .frame { stroke: #66727e }
  }
"""
TIP = (
    '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z"/></marker>'
)
BOXES = {"world": (20, 76), "policy": (670, 76), "ppo": (345, 180), "people": (20, 332), "reward": (345, 332)}
"""Left upper corners."""
FRAMES = {"rl": (10, 44, 860, 236), "rlhf": (2, 8, 876, 424)}
ARROWS = {
    "acts": ("M670 104 H212", (440, 95)),
    "shows": ("M115 160 V330", (163, 300)),
    "judges": ("M210 374 H343", (276, 365)),
    "scores": ("M440 332 V266", (466, 304)),
    "updates": ("M535 236 H765 V162", (650, 254)),
    "samples": ("M700 160 V206 H537", (610, 197)),
    "pays": ("M170 160 V222 H343", (256, 213)),
}
ENGLISH = {
    "title": "How RL, PPO, reward models and people relate",
    "people": ("People", "which of two is better?"),
    "reward": ("Reward model", "learned from comparisons"),
    "ppo": ("PPO", "advantage, ratio, clip"),
    "policy": ("Policy", "language model or agent"),
    "world": ("Prompts, environment", "what is asked, what happens"),
    "acts": "writes, acts",
    "shows": "two responses",
    "judges": "comparisons",
    "scores": "reward",
    "updates": "update",
    "samples": "rollout",
    "pays": "reward by a rule",
    "rl": "RL: the reward is given",
    "rlhf": "RLHF: the reward is learned from people, and so must be checked",
}
CHINESE = {
    "title": "强化学习、PPO、奖励模型与人之间的关系",
    "people": ("人", "两个回答，哪个更好？"),
    "reward": ("奖励模型", "从比较中学得"),
    "ppo": ("PPO", "优势、比率、裁剪"),
    "policy": ("策略", "语言模型或智能体"),
    "world": ("提示、环境", "问什么，发生什么"),
    "acts": "写作、行动",
    "shows": "两个回答",
    "judges": "比较",
    "scores": "奖励",
    "updates": "更新",
    "samples": "采样",
    "pays": "规则给的奖励",
    "rl": "强化学习：奖励是给定的",
    "rlhf": "RLHF：奖励向人学来，因此必须检查",
}


def draw(words: dict[str, str | tuple[str, str]]) -> str:
    """Return the drawing as SVG."""
    title = escape(str(words["title"]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title><style>{STYLE}</style>",
        f"<defs>{TIP}</defs>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    for name, (x, y, width, height) in FRAMES.items():
        parts.append(f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}"/>')
        parts.append(write(words[name], x + width / 2, y + 22, "small"))
    for name, (path, (x, y)) in ARROWS.items():
        parts.append(f'<path d="{path}"/>')
        parts.append(write(words[name], x, y, "small"))
    for name, (x, y) in BOXES.items():
        head, below = words[name]
        parts.append(f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}"/>')
        parts += [write(head, x + BOX[0] / 2, y + 36), write(below, x + BOX[0] / 2, y + 60, "small")]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(text: str | tuple[str, str], x: float, y: float, kind: str = "") -> str:
    """Return a line of text around x."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}">{escape(str(text))}</text>'


if __name__ == "__main__":
    (FOLDER / "relations.svg").write_text(draw(ENGLISH), encoding="utf-8")
    (FOLDER / "relations.zh.svg").write_text(draw(CHINESE), encoding="utf-8")
