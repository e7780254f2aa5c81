"""People's ratings as a source of the reward of PPO.

In each step the responses come onto the judging page, and the run waits for ratings, `wait_minutes` at most. A response
that people rated has a score by their ratings (the ordinal model of feedback/ordinal.py, in log-odds) and by those of
responses like it; what nobody rated has the score of rlhf/rating_model.py, which is fitted to all ratings so far: those
of earlier steps, late ones and of earlier runs on the same database too. Where several people rate the same responses
they are checked (feedback/raters.py): ratings by whom it flags are left out, and a careless share is in the likelihood
of everybody's. The scores that a step used are stored before it uses them: after a kill it has them again, and people
are not asked twice.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config, PPOConfig
from likelier.distributed import get_world_size
from likelier.errors import ConfigError
from likelier.feedback.ask import open_to_ask
from likelier.feedback.derived import score_rated
from likelier.feedback.ordinal import SCORE_SD
from likelier.feedback.projects import ProjectSettings
from likelier.feedback.raters import RaterCheck, check_raters, split_scales
from likelier.feedback.store import Store
from likelier.files import read_jsonl, write_jsonl
from likelier.progress import print_note
from likelier.records import Prompt, RatedResponse, Response
from likelier.reward.responses import ResponseBatch, SourceScores
from likelier.rlhf.rating_model import HiddenStates, RatingModel, fit_rating_model

PROJECT = "reward"
"""Project of the database in which responses of PPO are rated."""
SCORES_FILE = "people.jsonl"
"""In the run's folder: the scores that each step used."""
LOOK_SECONDS = 0.25
MIN_PRECISION = 1e-3
"""Of what ratings say of a response."""
SETTINGS = ProjectSettings(ask="ratings", per_comparison=1, repeat_share=0.0)
"""Of a new project; its owner may change how many people rate each response, or 1 to 7 into thumbs."""


@runtime_checkable
class RatingPage(Protocol):
    """The judging page of a project of ratings; implemented by `web.rating_page`."""

    def ask(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
        """Ask people about these responses, and about no earlier ones."""
        ...

    def count_missing(self) -> int:
        """Count the ratings that the responses asked about lack. LikelierError: the page has ended."""
        ...

    def end(self) -> None:
        """Tell people that no more responses come."""
        ...


OpenPage = Callable[[Store, PPOConfig], AbstractContextManager[RatingPage]]


@dataclass(frozen=True)
class UsedScores:
    """The scores of a step, as they are stored."""

    step: int
    responses: list[str]
    """Ids."""
    scores: list[float | None]
    """None where neither people nor a model gave one."""
    rated: list[bool]
    """True where people rated the response."""
    until: int
    """Number of the newest rating that counted."""


@contextmanager
def open_people(
    config: Config, folder: Path, open_page: OpenPage | None, start: int = 0
) -> Iterator["PeopleSource | None"]:
    """Open the database and the page of the people in `reward` of a run that goes on from step `start`.

    Yields None if there are no people.

    ConfigError: they cannot be asked here, or their project asks something else. DataError: see `Store.open`.
    """
    if config.people is None or config.people.people is None:
        yield None
        return
    if open_page is None:
        raise ConfigError("reward: people: no page can be opened here; run `likelier ppo`")
    if get_world_size() > 1:
        raise ConfigError(f"reward: people: they are asked by one process, and torchrun started {get_world_size()}")
    with (
        open_to_ask(config.people.people, PROJECT, SETTINGS, "reward: people") as store,
        open_page(store, config.ppo) as page,
    ):
        yield PeopleSource(config, store, page, folder, start)


class PeopleSource:
    """Scores responses by people's ratings, and by a model of them."""

    def __init__(self, config: Config, store: Store, page: RatingPage, folder: Path, start: int) -> None:
        assert config.people is not None
        self.name, self.wait_minutes, self.num_steps = config.people.label, config.people.wait_minutes, config.ppo.steps
        self.stands_alone = len(config.reward) == 1
        self.store, self.page, self.path = store, page, folder / SCORES_FILE
        lines = read_jsonl(self.path) if self.path.is_file() else ()
        self.used = {line["step"]: UsedScores(**line) for _, line in lines}
        self.hidden: HiddenStates | None = None
        self.model: RatingModel | None = None
        self.scored: dict[str, float] = {}
        """Scores of all responses that people have rated, by id."""
        self.num_left_out = 0
        """Ratings by people who are flagged."""
        self.named: set[str] = set()
        """Flagged people of whom a note was printed."""
        self.step = start
        self.stop_if_asked: Callable[[], None] = lambda: None

    def read_with(self, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Describe responses by the hidden states of this model; of a resumed run, fit what its last step had."""
        self.hidden = HiddenStates(reference, tokenizer)
        if self.step - 1 in self.used:
            self.fit(self.used[self.step - 1].until)

    def begin_step(self, step: int, stop_if_asked: Callable[[], None]) -> None:
        """Begin a step; `stop_if_asked` is called while people are waited for and raises Stopped after a signal."""
        self.step, self.stop_if_asked = step, stop_if_asked

    def rate(self, batch: ResponseBatch) -> SourceScores:
        """Return the scores of this step's responses, from people as far as they rate them in time."""
        responses = make_responses(batch)
        used = self.used.get(self.step)
        if used is None or used.responses != [each.id for each in responses]:
            self.wait(batch.prompts, responses)
            if self.step + 1 == self.num_steps:  # while the run ends, pages that ask again are still answered
                self.page.end()
            used = self.score(batch, responses)
            self.used[self.step] = used
            write_jsonl(self.path, map(asdict, self.used.values()))
        else:
            self.fit(used.until)
        values = [np.nan if score is None else score for score in used.scores]
        return make_scores(np.array(values), np.array(used.rated))

    def predict(self, batch: ResponseBatch) -> SourceScores:
        """Return the scores by the model alone, as for held-out prompts: nobody is asked."""
        return make_scores(self.apply_model(batch, keep=False), np.zeros(len(batch.texts), bool))

    def wait(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> None:
        """Ask people about the responses until all are rated or the time is up.

        Where nothing else gives a score, until there is one rating at least.
        """
        self.page.ask(
            list({each.id: each for each in prompts}.values()), list({each.id: each for each in responses}.values())
        )
        minutes, until, waits_on = self.wait_minutes, time.monotonic() + 60 * self.wait_minutes, False
        if missing := self.page.count_missing():
            print_note(f"people: step {self.step + 1}: {missing} ratings are wanted, within {minutes:g} minutes")
        while self.page.count_missing():
            self.stop_if_asked()
            if time.monotonic() >= until:
                if not self.stands_alone or self.store.find_newest_rating():
                    return
                if not waits_on:
                    print_note("people: nobody has rated anything, and there is no other source: the run waits on")
                    waits_on = True
            time.sleep(LOOK_SECONDS)

    def score(self, batch: ResponseBatch, responses: Sequence[Response]) -> UsedScores:
        """Score responses by the ratings that there are now."""
        until, ids = self.store.find_newest_rating(), [each.id for each in responses]
        self.fit(until)
        predicted = self.apply_model(batch)
        scores = [self.scored.get(each, float(value)) for each, value in zip(ids, predicted, strict=True)]
        rated = [each in self.scored for each in ids]
        return UsedScores(self.step, ids, [None if np.isnan(each) else each for each in scores], rated, until)

    def apply_model(self, batch: ResponseBatch, keep: bool = True) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the model's scores [B]; NaN while there is none."""
        if self.model is None:
            return np.full(len(batch.texts), np.nan)
        assert self.hidden is not None
        return self.model.predict(self.hidden.describe([prompt.text for prompt in batch.prompts], batch.texts, keep))

    def fit(self, until: int) -> None:
        """Fit the scores, and the model of them, to the ratings that counted when `until` was the newest."""
        assert self.hidden is not None
        everything = list(self.store.rated_by_content(until=until))
        raters = check_raters(everything)
        rated = [entry for entry in everything if not is_flagged(raters, entry)]
        self.scored, self.model, self.num_left_out = {}, None, len(everything) - len(rated)
        self.name_flagged(raters)
        if not rated:
            return
        entry_of = {entry.response.id: entry for entry in rated}
        said = read_ratings(rated, {name: rater.careless or 0.0 for name, rater in raters.items()})
        ids = sorted(said)
        features = self.hidden.describe(
            [entry_of[each].prompt.text for each in ids], [entry_of[each].response.text for each in ids]
        )
        scores, variances = np.array([said[each] for each in ids]).T
        self.model = fit_rating_model(features, scores, variances)
        self.scored = dict(zip(ids, self.model.rated.tolist(), strict=True))

    def name_flagged(self, raters: Mapping[str, RaterCheck]) -> None:
        """Print whose ratings are left out, once for each person."""
        names = self.store.names()
        for annotator, rater in raters.items():
            if rater.flags and annotator not in self.named:
                self.named.add(annotator)
                person, flag = names.get(annotator) or annotator, rater.flags[0]
                print_note(
                    f"people: {person} is flagged {flag} beside the others' ratings of the same responses: "
                    f"{rater.ratings} ratings are left out"
                )

    def measure(self) -> dict[str, float]:
        """Return the metrics of the last step."""
        used = self.used[self.step]
        num_rated = sum(used.rated)
        num_predicted = sum(score is not None for score in used.scores) - num_rated
        counts = {
            "rated": num_rated,
            "by_model": num_predicted,
            "responses_rated": len(self.scored),
            "ratings_left_out": self.num_left_out,
        }
        metrics = {f"people/{name}": float(count) for name, count in counts.items()}
        if self.model is not None and self.model.correlation is not None:
            metrics["people/model_correlation"] = self.model.correlation
        return metrics


def is_flagged(raters: Mapping[str, RaterCheck], entry: RatedResponse) -> bool:
    """Return True for a rating by somebody whom the check flags."""
    rater = raters.get(entry.rating.annotator)
    return rater is not None and bool(rater.flags)


def read_ratings(
    rated: Sequence[RatedResponse], careless: Mapping[str, float] | None = None
) -> dict[str, tuple[float, float]]:
    """Return what its ratings say of each response, by id: a score in log-odds and the variance of its error.

    The likelihood of the ordinal model, with people's `careless` shares, as a normal one: posterior less prior, in
    precision. Each kind and scale has its own model; of a response rated on several the precisions add up. Where all
    ratings of a scale are the same they say next to nothing, of the score 0.
    """
    precisions: dict[str, float] = defaultdict(float)
    sums: dict[str, float] = defaultdict(float)
    for _, entries in split_scales(rated):
        fitted = score_rated(entries, careless)
        ids = sorted({entry.response.id for entry in entries})
        means, variances = fitted[1] if fitted else (np.zeros(len(ids)), np.full(len(ids), SCORE_SD**2))
        for response, mean, variance in zip(ids, means.tolist(), variances.tolist(), strict=True):
            precisions[response] += max(1 / variance - 1 / SCORE_SD**2, MIN_PRECISION)
            sums[response] += mean / variance
    return {each: (sums[each] / precisions[each], 1 / precisions[each]) for each in sums}


def make_responses(batch: ResponseBatch) -> list[Response]:
    """Return the responses of a batch as records, without a model's name: the page must not show it."""
    return [Response(prompt.id, text) for prompt, text in zip(batch.prompts, batch.texts, strict=True)]


def make_scores(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], rated: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> SourceScores:
    """Return scores, of which NaN are none, and which of them people gave."""
    scored = ~np.isnan(values)
    return SourceScores(
        torch.tensor(np.where(scored, values, 0.0), dtype=torch.float32),
        torch.tensor(scored),
        rated=torch.tensor(rated),
    )
