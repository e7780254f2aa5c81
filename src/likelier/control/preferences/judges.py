"""Judges of clips: a simulated one, or people at the judging page."""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from likelier.config import GymConfig, PreferencesConfig
from likelier.control.envs import SubEnv
from likelier.control.evaluate import render_frame, save_gif
from likelier.control.preferences.clips import Clip, Pair
from likelier.control.spaces import ActionDecoder, Array
from likelier.control.watchdog import Watchdog
from likelier.errors import DataError
from likelier.files import stable_id
from likelier.progress import print_note
from likelier.training.setup import seeded_generator
from likelier.userfile import find_function, user_code_errors

SHARPNESS = 4.0
"""Log-odds of the simulated judge for a difference of one standard deviation of the utilities of clips."""
TASTE = "gym.preferences.taste"
LOOK_SECONDS = 0.25
CLIP_FPS = 25
"""Frames a second of the clips that people see, at most."""


@runtime_checkable
class Judge(Protocol):
    """Compares clips."""

    ids: list[str]
    """Of all pairs so far, where they are stored."""
    stop_if_asked: Callable[[], None]
    """Called while people are waited for."""

    def compare(self, pairs: Sequence[Pair], earlier: Array, step: int) -> Array:
        """Return the answers to all pairs, `earlier` ones and then these: P(the first is better), NaN for none yet."""
        ...

    def end(self) -> None:
        """Called once nothing more will be asked."""
        ...


def get_true_return(clip: Clip) -> float:
    """Return the sum of the environment's rewards."""
    return clip.true_return


def load_taste(import_string: str, decoder: ActionDecoder) -> Callable[[Clip], float]:
    """Return `file.py:function` as a function of clips; it gets observations `[T, D]` and actions `[T, A]`, as the
    environment does. ConfigError: see `find_function`. The function raises DataError where the user's fails."""
    function, label = find_function(import_string, TASTE), f"{TASTE} `{import_string}`"

    def measure(clip: Clip) -> float:
        at = slice(clip.start, clip.stop)
        actions = decoder.to_env(clip.recording.actions[at])
        with user_code_errors(label, DataError):
            liked = float(function(clip.recording.observations[at], actions if decoder.parts else np.array(actions)))
        if not math.isfinite(liked):
            raise DataError(f"{label} returns {liked}; it must be a number, larger for a clip that is liked more")
        return liked

    return measure


class SimulatedJudge:
    """Prefers the clip with the larger utility, by Bradley-Terry, and answers the share `error` by a coin."""

    def __init__(self, error: float, seed: int, utility: Callable[[Clip], float] = get_true_return) -> None:
        self.error, self.seed, self.utility = error, seed, utility
        self.ids: list[str] = []
        self.stop_if_asked: Callable[[], None] = lambda: None

    def compare(self, pairs: Sequence[Pair], earlier: Array, step: int) -> Array:
        """Answer at once; the unit is the spread of the utilities of these clips."""
        returns = np.array([[self.utility(clip) for clip in pair] for pair in pairs])
        chances = answer_chances(returns, self.error)
        draws = torch.rand(len(pairs), generator=seeded_generator(self.seed, step, "simulated-judge"))
        self.ids += [""] * len(pairs)
        return np.concatenate([earlier, (draws.double().numpy() < chances).astype(float)])

    def end(self) -> None:
        """Nobody waits."""


def answer_chances(returns: Array, error: float) -> Array:
    """P(the first is chosen) of pairs of utilities [N, 2]: (1 - e) sigmoid(SHARPNESS (a - b) / sd) + e / 2."""
    spread = float(returns.std()) or 1.0
    logits = SHARPNESS * (returns[:, 0] - returns[:, 1]) / spread
    chances: Array = (1 - error) * (0.5 + 0.5 * np.tanh(logits / 2)) + error / 2
    return chances


@runtime_checkable
class ClipPage(Protocol):
    """The judging page of clips; implemented by `web.clip_page`."""

    def ask(self, pairs: Sequence[tuple[Path, Path]]) -> list[str]:
        """Ask people about pairs of media files, and about no earlier ones; returns the ids of the comparisons."""
        ...

    def read(self, ids: Sequence[str]) -> list[float | None]:
        """Return the answers to comparisons: P(the first is better), None while there is none.

        LikelierError: the page has ended.
        """
        ...

    def end(self) -> None:
        """Tell people that nothing more is asked."""
        ...


OpenClipPage = Callable[[PreferencesConfig], AbstractContextManager[ClipPage]]


class People:
    """People at the judging page. A step waits for their answers, `wait_minutes` at most, and at least for one."""

    def __init__(self, page: ClipPage, config: GymConfig, seed: int, watchdog: Watchdog, folder: Path) -> None:
        assert config.preferences is not None
        self.page, self.config, self.seed, self.watchdog = page, config, seed, watchdog
        self.folder = folder / "clips"
        self.env: SubEnv | None = None
        """Draws the clips."""
        self.ids: list[str] = []
        self.stop_if_asked: Callable[[], None] = lambda: None

    def compare(self, pairs: Sequence[Pair], earlier: Array, step: int) -> Array:
        """Draw the clips, put them onto the page, and wait; late answers to earlier pairs count too."""
        self.folder.mkdir(exist_ok=True)
        self.ids += self.page.ask([(self.draw(first), self.draw(second)) for first, second in pairs])
        self.wait(len(pairs))
        return np.array([math.nan if answer is None else answer for answer in self.page.read(self.ids)])

    def end(self) -> None:
        """Tell people that nothing more is asked."""
        self.page.end()

    def wait(self, num_new: int) -> None:
        """Return once all new pairs are answered, or the time is up and there is an answer to any pair."""
        assert self.config.preferences is not None
        minutes = self.config.preferences.wait_minutes
        until, said = time.monotonic() + 60 * minutes, False
        print_note(f"people: {num_new} comparisons of clips are wanted, within {minutes:g} minutes")
        while None in self.page.read(self.ids[len(self.ids) - num_new :]):
            self.stop_if_asked()
            if time.monotonic() >= until:
                if any(answer is not None for answer in self.page.read(self.ids)):
                    return
                if not said:
                    print_note("people: nobody has compared anything yet, and there is no other reward: the run waits")
                    said = True
            time.sleep(LOOK_SECONDS)

    def draw(self, clip: Clip) -> Path:
        """Draw a clip as a GIF, by playing its episode again; returns the file."""
        recording = clip.recording
        about = [self.config.env_id, self.seed, recording.env, recording.episode, clip.start, clip.stop]
        path = self.folder / f"{stable_id('clip', json.dumps([*about, recording.actions[: clip.stop].tolist()]))}.gif"
        if path.is_file():
            return path
        if self.env is None:
            self.env = SubEnv(self.config, 0, self.seed, "train", self.watchdog, render=True)
        env = self.env
        env.index, env.episode = recording.env, recording.episode - 1
        env.reset()
        frames: list[Array] = []
        for at, action in enumerate(env.spaces.actions.to_env(recording.actions[: clip.stop])):
            if at >= clip.start:
                frames.append(render_frame(env))
            env.step(action)
        frames.append(render_frame(env))
        fps = float(env.env.metadata.get("render_fps", 30))
        # All clips last equally long: one that ended early shows its last frame until then.
        length = clip_length(self.config, fps)
        save_gif(frames + frames[-1:] * (length - len(frames) + 1), fps, path, most_fps=CLIP_FPS)
        return path


def clip_length(config: GymConfig, fps: float) -> int:
    """Steps of a clip, at least 2."""
    assert config.preferences is not None
    return max(2, round(config.preferences.clip_seconds * fps))
