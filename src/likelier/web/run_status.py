"""The state of a run that a page stands beside, as open pages are told it: above all that the run is over."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

PRESENT_SECONDS = 10.0
"""Somebody whose page has not asked for so long has closed it. Open pages ask every two seconds."""


@dataclass
class RunStatus:
    """The run that a page is beside of."""

    trains: Literal["agent", "model"]
    question: str | None = None
    """A prompt that each person reads in their own language; None: prompts are shown as they are."""
    is_over: bool = False
    """Nothing is asked any more, whatever is on people's screens."""
    last_asked: dict[str, float] = field(default_factory=dict)
    """When each person's page asked last, in seconds; once the run is over only of those who do not know it."""

    def tell(self, annotator: str) -> dict[str, Any]:
        """Return what a person's page is told."""
        if self.is_over:
            self.last_asked.pop(annotator, None)
        else:
            self.last_asked[annotator] = time.monotonic()
        return {"trains": self.trains, "question": self.question, "over": self.is_over}

    def count_untold(self) -> int:
        """Count the people who look at the page and do not know that the run is over."""
        since = time.monotonic() - PRESENT_SECONDS
        return sum(asked > since for asked in list(self.last_asked.values()))
