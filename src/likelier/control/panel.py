"""Pictures of what a policy sees, expects and does, drawn under the frames of an episode."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from likelier.control.distributions import Categorical, Gaussian, Mixed, MultiCategorical
from likelier.control.nets import ActorCritic
from likelier.control.spaces import ActionDecoder, Array, ObservationEncoder

INK, SOFT, RAIL, FILL, CHOSEN, GROUND = "#1c1e22", "#5b5f67", "#e2ddd2", "#9fc6e0", "#0a649f", "#ffffff"
MARGIN, LINE, FONT_SIZE, GAP = 8, 15, 11, 5
"""Pixels."""
MAX_NUMBERS = 8
"""Of an observation; of a longer one the first are shown."""
MAX_ROWS = 6
"""Actions, parts or dimensions of the action; further ones are left out."""
MAX_NAMED = 8
"""Actions in a bar each; of more all are drawn side by side, without names."""
CURVE_HEIGHT = 34
THUMBNAIL = 84
"""Largest side of an observed picture."""
NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CartPole": (("position", "speed", "angle", "turning"), ("left", "right")),
    "MountainCar": (("position", "speed"), ("left", "none", "right")),
    "MountainCarContinuous": (("position", "speed"), ("push",)),
    "Pendulum": (("cos angle", "sin angle", "turning"), ("torque",)),
    "Acrobot": (("cos 1", "sin 1", "cos 2", "sin 2", "turning 1", "turning 2"), ("-1", "0", "+1")),
    "LunarLander": (
        ("x", "y", "speed x", "speed y", "angle", "turning", "left leg", "right leg"),
        ("none", "left engine", "main engine", "right engine"),
    ),
}
"""Names of observations and actions by environment, from Gymnasium's documentation."""


@dataclass(frozen=True)
class Glance:
    """A step as a policy has it: observation, expected value, and distribution of actions."""

    observation: Array
    """Encoded, before normalisation."""
    value: float
    outputs: Array
    """Parameters of the distribution of actions, [K]."""
    action: Array
    """The action taken, [A], in the distribution's units."""


def glance_at(policy: ActorCritic, observation: Array, normalized: Array, state: Array, action: Array) -> Glance:
    """Return what the policy makes of an observation, given as it is and normalised in a batch of one, after those that
    led to `state`."""
    outputs, values = policy.look(*(torch.from_numpy(each).to(policy.device) for each in (normalized, state)))
    return Glance(observation.copy(), float(values), outputs[0].cpu().numpy(), action[0])


class Panel:
    """Draws the glances of one episode."""

    def __init__(
        self, policy: ActorCritic, encoder: ObservationEncoder, decoder: ActionDecoder, env_id: str, width: int
    ) -> None:
        self.distribution, self.encoder, self.decoder, self.width = policy.distribution, encoder, decoder, width
        name = env_id.rpartition("/")[2].rpartition(":")[2].partition("-v")[0]
        self.seen_names, self.action_names = NAMES.get(name, ((), ()))
        self.font = ImageFont.load_default(FONT_SIZE)

    def draw(self, glances: Sequence[Glance], place: int) -> Image.Image:
        """Draw a step of an episode, with the values of all of it as a curve."""
        glance = glances[place]  # the font has no letters beyond Latin: no minus sign, no ellipsis
        picture = Image.new("RGB", (self.width, 800), GROUND)
        brush = ImageDraw.Draw(picture)
        brush.line((0, 0, self.width, 0), RAIL)
        y = self.draw_observation(picture, brush, glance.observation, GAP)
        y = self.draw_value(brush, [each.value for each in glances], place, y + GAP)
        y = self.draw_actions(brush, glance, y + GAP)
        return picture.crop((0, 0, self.width, y + GAP))

    def draw_observation(self, picture: Image.Image, brush: ImageDraw.ImageDraw, observation: Array, y: int) -> int:
        """Draw numbers in two columns, or the newest of the pictures; returns the row below."""
        if self.encoder.image:
            newest = observation[-(len(observation) // self.encoder.frame_stack) :]
            seen = Image.fromarray(np.moveaxis(newest, 0, -1) if len(newest) == 3 else newest[0])
            seen.thumbnail((THUMBNAIL, THUMBNAIL))
            self.write(brush, MARGIN, y, "sees", SOFT)
            picture.paste(seen.convert("RGB"), (MARGIN + 44, y))
            return y + max(seen.height, LINE)
        newest = observation[-(len(observation) // self.encoder.frame_stack) :]
        shown = [f"{self.name_seen(at)} {format_number(float(x))}" for at, x in enumerate(newest[:MAX_NUMBERS])]
        if len(newest) > MAX_NUMBERS:
            shown[-1] = f"... {len(newest)} numbers"
        for at, text in enumerate(shown):
            self.write(brush, MARGIN + at % 2 * self.width // 2, y + at // 2 * LINE, text)
        return y + (len(shown) + 1) // 2 * LINE

    def draw_value(self, brush: ImageDraw.ImageDraw, values: Sequence[float], place: int, y: int) -> int:
        """Draw the value as a number, and the values of the whole episode as a curve; returns the row below."""
        self.write(brush, MARGIN, y, f"value {format_number(values[place])}")
        left, right, top, bottom = self.width // 3, self.width - MARGIN, y + 3, y + CURVE_HEIGHT - 3
        low, high = min(values), max(values)
        xs = np.linspace(left, right, max(len(values), 2))
        ys = bottom - (bottom - top) * (np.array(values) - low) / ((high - low) or 1.0)
        brush.line((left, bottom, right, bottom), RAIL)
        for start, end in pairwise(zip(xs, ys, strict=False)):
            brush.line((*map(float, start), *map(float, end)), FILL, 2)
        x, level = float(xs[place]), float(ys[place])
        brush.ellipse((x - 3, level - 3, x + 3, level + 3), CHOSEN)
        return y + CURVE_HEIGHT

    def draw_actions(self, brush: ImageDraw.ImageDraw, glance: Glance, y: int) -> int:
        """Draw the distribution of actions; returns the row below."""
        match self.distribution:
            case Categorical():
                return self.draw_choices(brush, softmax(glance.outputs), int(glance.action[0]), y)
            case MultiCategorical() as categories:
                return self.draw_categories(brush, categories, glance.outputs, glance.action, y)
            case Gaussian() as gaussian:
                return self.draw_gaussian(brush, gaussian, glance.outputs, glance.action, y)
            case Mixed(gaussian=gaussian, categories=categories):
                numbers, logits = np.split(glance.outputs, [gaussian.num_outputs])
                y = self.draw_gaussian(brush, gaussian, numbers, glance.action, y)
                chosen = glance.action[gaussian.num_noise :]
                return self.draw_categories(brush, categories, logits, chosen, y, gaussian.num_noise)

    def draw_categories(
        self,
        brush: ImageDraw.ImageDraw,
        categories: MultiCategorical,
        logits: Array,
        chosen: Array,
        y: int,
        first_name: int = 0,
    ) -> int:
        """Draw a row of bars for each categorical; returns the row below."""
        parts = [softmax(part) for part in np.split(logits, np.cumsum(categories.sizes)[:-1])]
        for at, part in enumerate(parts[:MAX_ROWS]):
            self.write(brush, MARGIN, y, self.name_action(first_name + at))
            self.draw_columns(brush, part, int(chosen[at]), y, LINE - 2)
            y += LINE
        return y

    def draw_gaussian(
        self, brush: ImageDraw.ImageDraw, gaussian: Gaussian, outputs: Array, action: Array, y: int
    ) -> int:
        """Draw a row for each continuous dimension, with the number as executed; returns the row below."""
        mean, log_std = gaussian.mean_and_log_std(torch.from_numpy(outputs)[None])
        stds = log_std.detach().cpu().numpy().reshape(-1)
        taken = self.decoder.list_numbers(action[None])[0]
        for at, (centre, spread) in enumerate(zip(mean[0].tolist()[:MAX_ROWS], np.exp(stds), strict=False)):
            text = f"{self.name_action(at)} {format_number(float(taken[at]))}"
            self.draw_range(brush, text, centre, float(spread), y)
            y += LINE
        return y

    def draw_choices(self, brush: ImageDraw.ImageDraw, probabilities: Array, chosen: int, y: int) -> int:
        """Draw a bar for each action, named if there are few; returns the row below."""
        if len(probabilities) > MAX_NAMED:
            self.write(brush, MARGIN, y, f"action {self.name_action(chosen)}")
            self.draw_columns(brush, probabilities, chosen, y, 2 * LINE)
            return y + 2 * LINE + 2
        left, right = self.width // 3, self.width - MARGIN - 34
        for at, share in enumerate(probabilities.tolist()):
            colour = CHOSEN if at == chosen else FILL
            self.write(brush, MARGIN, y, self.name_action(at), INK if at == chosen else SOFT)
            brush.rectangle((left, y + 3, right, y + LINE - 3), RAIL)
            brush.rectangle((left, y + 3, left + share * (right - left), y + LINE - 3), colour)
            self.write(brush, right + 6, y, f"{100 * share:.0f} %", INK if at == chosen else SOFT)
            y += LINE
        return y

    def draw_columns(self, brush: ImageDraw.ImageDraw, probabilities: Array, chosen: int, y: int, height: int) -> None:
        """Draw upright bars side by side."""
        left, right = self.width // 3, self.width - MARGIN
        step = (right - left) / len(probabilities)
        brush.line((left, y + height, right, y + height), RAIL)
        for at, share in enumerate(probabilities.tolist()):
            x = left + at * step
            top = y + height - max(share * height, 1)
            brush.rectangle((x, top, x + max(step - 2, 1), y + height), CHOSEN if at == chosen else FILL)

    def draw_range(self, brush: ImageDraw.ImageDraw, text: str, centre: float, spread: float, y: int) -> None:
        """Draw a Gaussian from -1 to 1 (what lies outside is clipped): a standard deviation each way, and its mean."""
        left, right = self.width // 2, self.width - MARGIN
        low, middle, high = (
            left + (right - left) * (min(max(x, -1.0), 1.0) + 1) / 2 for x in (centre - spread, centre, centre + spread)
        )
        self.write(brush, MARGIN, y, text)
        brush.rectangle((left, y + 5, right, y + LINE - 5), RAIL)
        brush.rectangle((low, y + 4, high, y + LINE - 4), FILL)
        brush.rectangle((middle - 1.5, y + 1, middle + 1.5, y + LINE - 1), CHOSEN)

    def write(self, brush: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: str = INK) -> None:
        """Write a line of text."""
        brush.text((x, y), text, colour, self.font)

    def name_seen(self, at: int) -> str:
        """Return the name of a number of the observation."""
        return self.seen_names[at] if at < len(self.seen_names) else f"o{at}"

    def name_action(self, at: int) -> str:
        """Return the name of an action, or of a part of it."""
        return self.action_names[at] if at < len(self.action_names) else f"a{at}"


def softmax(logits: Array) -> Array:
    """Return probabilities of logits [K]."""
    exponentials: Array = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())


def format_number(value: float) -> str:
    """Format with three digits, as plainly as that goes.

    >>> format_number(-0.0213), format_number(123.4), format_number(0.0)
    ('-0.021', '123', '0')
    """
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.3f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if float(text) else "0"
