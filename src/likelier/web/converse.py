"""Conversations: a person writes, the model answers twice, the person picks, and they go on from the pick."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from likelier.errors import LikelierError
from likelier.feedback.accounts import Person
from likelier.feedback.pairing import hash_uniform
from likelier.feedback.questions import conversation_id
from likelier.generation.policies import is_former
from likelier.generation.process import Generator, NoResponses
from likelier.generation.protocol import Item, Sampled
from likelier.records import Comparison, Message, Prompt
from likelier.terminal import print_stderr
from likelier.web.access import KEY, Project, Visitor
from likelier.web.live import MAX_SAME, add_generated, choose_policies, make_responses
from likelier.web.room import Room
from likelier.web.rooms import Rooms

MAX_CHARACTERS = 8000
"""Of a message."""
WAIT_SECONDS = 20.0
"""So long a request waits for the answers; then the page asks again."""
MAX_MESSAGES, MESSAGES_SECONDS = 20, 60.0
"""So many messages a person may send in so many seconds."""
MAX_WAITING = 2
"""So many messages of a person may wait for answers at once: two windows."""
KEPT = 64
"""Messages of a person whose answers are kept for a page that asks again."""
Question = dict[str, Any]


class Written(BaseModel):
    """A message to the model; a request repeated with the same `key` gets the same answers."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(pattern=KEY)
    text: str = Field(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S")
    after: str | None = Field(default=None, max_length=64)
    """The comparison from whose picked response the conversation goes on; None begins a new one."""


class Waiting(NamedTuple):
    """A message that waits for its answers."""

    room: Room
    author: str
    prompt: Prompt
    future: "Future[Question]"


class Conversations:
    """The messages that wait for answers, and those that were answered of late, by person and key."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.asked: dict[str, dict[str, Future[Question]]] = {}
        self.times: dict[str, deque[float]] = {}
        self.workers = ThreadPoolExecutor(2, thread_name_prefix="conversation")
        """They store what was answered: a thread that reads the generating process must not wait for the database."""

    def begin(self, room: Room, person: Person, message: Written) -> "Future[Question]":
        """Return the future of the two answers to a message. HTTPException: it cannot be answered."""
        asked = self.asked.setdefault(person.annotator, {})
        if message.key in asked:
            return asked[message.key]
        self.throttle(person, asked)
        prompt = continue_conversation(room, person, message)
        future: Future[Question] = Future()
        asked[message.key] = future
        while len(asked) > KEPT:
            del asked[next(iter(asked))]
        if unseen := find_unjudged(room, prompt.id, person, self.generator.list_names()):  # before a restart
            with room.store.transaction() as writer:
                writer.add_written([prompt.id], person.annotator)
            future.set_result(describe(room, unseen, person.annotator))
        elif self.generator.is_hopeless():
            future.set_result({"refused": "not_loaded"})
        else:
            self.ask(Waiting(room, person.annotator, prompt, future), 1)
        return future

    def throttle(self, person: Person, asked: dict[str, "Future[Question]"]) -> None:
        """HTTPException 429: a person writes faster than people do."""
        times, now = self.times.setdefault(person.annotator, deque(maxlen=MAX_MESSAGES)), time.monotonic()
        if sum(not future.done() for future in asked.values()) >= MAX_WAITING:
            raise HTTPException(429, "two of your messages wait for their answers")
        if len(times) == MAX_MESSAGES and now - times[0] < MESSAGES_SECONDS:
            raise HTTPException(429, f"at most {MAX_MESSAGES} messages a minute; wait a little")
        times.append(now)

    def ask(self, waiting: Waiting, tries: int) -> None:
        """Have a prompt answered twice; what comes is stored by one of the workers."""
        prompt = waiting.prompt
        numbers = choose_policies(self.generator.list_usable() or [0], int(prompt.id, 16))
        items = [Item(number, prompt.text) for number in numbers]
        sampled = self.generator.ask(items, urgent=True)
        sampled.add_done_callback(lambda done: self.workers.submit(self.finish, waiting, tries, done))

    def finish(self, waiting: Waiting, tries: int, done: "Future[list[Sampled]]") -> None:
        """Store two answers and hand them to whoever waits; equal ones are asked for again."""
        room, author, prompt, future = waiting
        try:
            first, second = done.result()
            if error := first.error or second.error:
                future.set_result({"refused": error})
            elif first.text != second.text:
                pair = make_responses(prompt.id, (first, second))
                comparison = Comparison(prompt.id, pair[0].id, pair[1].id)
                add_generated(room, [comparison], pair, [prompt], author)
                future.set_result(describe(room, comparison, author))
            elif tries < MAX_SAME:
                self.ask(waiting, tries + 1)
            else:
                future.set_result({"refused": "same"})
        except NoResponses:
            future.set_result({"refused": "failed"})
        except LikelierError as error:  # of the database: the page says that, and tries again with the same key
            print_stderr(f"likelier: {error}")
            future.set_exception(error)

    def close(self) -> None:
        """Let the workers end."""
        self.workers.shutdown(wait=False, cancel_futures=True)


def add_conversation_routes(app: FastAPI, rooms: Rooms) -> None:
    """Add what the page of a conversation sends; picks are judgements like any other."""
    conversations = Conversations(rooms.live.generator) if rooms.live else None

    @app.post("/messages")
    async def write(message: Written, person: Visitor, project: Project = None) -> Response:
        room = await run_in_threadpool(rooms.find, person, project)
        if room.settings.ask != "conversations" or conversations is None:
            raise HTTPException(422, "there are no conversations in this project")
        future = await run_in_threadpool(conversations.begin, room, person, message)
        try:
            question = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), WAIT_SECONDS)
        except TimeoutError:
            return JSONResponse({"pending": True}, 202)
        except LikelierError:
            conversations.asked[person.annotator].pop(message.key, None)
            raise
        return JSONResponse(question)


def continue_conversation(room: Room, person: Person, message: Written) -> Prompt:
    """Return the conversation so far with the message. HTTPException: it cannot go on from there."""
    turns = list_turns(room, person, message.after) if message.after else []
    turns.append(Message(role="user", content=message.text))
    return Prompt(turns, conversation_id(turns))


def list_turns(room: Room, person: Person, after: str) -> list[Message]:
    """Return a conversation up to the response that a person picked last; of a tie it is the left one."""
    comparison = room.comparisons.get(room.ids.stored.get(after, ""))
    turns = room.prompts[comparison.prompt_id] if comparison else ""
    if comparison is None or isinstance(turns, str):
        raise HTTPException(422, "no such conversation")
    picks = [each for each in room.store.judgements_of([comparison.id]) if each.annotator == person.annotator]
    if not picks:
        raise HTTPException(409, "pick an answer first")
    picked = room.responses[picks[-1].preferred or picks[-1].left]
    return [*turns, Message(role="assistant", content=picked.text)]


def find_unjudged(room: Room, prompt_id: str, person: Person, names: Sequence[str]) -> Comparison | None:
    """Return a comparison of a prompt by present policies that nobody has judged and the person has not skipped.

    Slow: one look at each comparison of the project, fine below a million.
    """
    with room.pairing_lock:
        pairing = room.pairing
        return next(
            (
                each
                for each in room.comparisons.values()
                if each.prompt_id == prompt_id
                and pairing.num_people[pairing.indices[each.id]] == 0
                and (person.annotator, each.id) not in pairing.skipped
                and not any(is_former(room.responses[side].model, names) for side in each.responses)
            ),
            None,
        )


def describe(room: Room, comparison: Comparison, author: str) -> Question:
    """Return a comparison as the page shows it to who wrote the message; its sides by chance, but always the same."""
    sides: Sequence[str] = (comparison.response_a, comparison.response_b)
    if hash_uniform("side of a conversation", comparison.id) < 0.5:
        sides = sides[::-1]
    described = room.describe(comparison, *sides)
    described["ids"]["ticket"] = room.ids.make_ticket(author, comparison.id)
    return described
