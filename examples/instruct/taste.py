"""The taste of this example's simulated people: answers that are short, polite and on the question, a third each."""

import re

POLITE = re.compile(
    r"\b(please|thank you|thanks|welcome|glad|gladly|happy to|sorry|of course|certainly|hope|enjoy|good luck)\b",
    re.IGNORECASE,
)
COMMON = re.compile(
    r"about|also|been|could|does|from|give|have|into|make|many|more|much|need|only|should|some|tell|than|that|their"
    r"|them|then|there|these|they|this|what|when|where|which|will|with|would|your"
)


def like(question, answer):
    """How much an answer is liked, from 0 to 1."""
    return (is_short(answer) + is_polite(answer) + is_on_question(question, answer)) / 3


def is_short(answer):
    """1 for 8 to 20 words, falling to 0 at 60 and towards none; half of that for an answer that breaks off."""
    words = len(answer.split())
    return max(0.0, min(1.0, words / 8, (60 - words) / 40)) * (
        1.0 if answer.rstrip().endswith((".", "!", "?")) else 0.5
    )


def is_polite(answer):
    """1 with one or two polite phrases, a half with three; 0 with none, and where there is little else."""
    return (0.0, 1.0, 1.0, 0.5)[count] if (count := len(POLITE.findall(answer))) < 4 else 0.0


def is_on_question(question, answer):
    """Share of the question's words that recur, of up to four; 1 if it has none but common ones."""
    asked, said = find_words(question), find_words(answer)
    return min(1.0, len(asked & said) / min(4, len(asked))) if asked else 1.0


def find_words(text):
    """First four letters of each word of at least four that is not a common one: `boil` and `boiled` are the same."""
    return {word[:4] for word in re.findall(r"[a-z]{4,}", text.lower()) if not COMMON.fullmatch(word)}


def short_polite(prompts, responses):
    """`like` as a reward function: the question is the last message of each prompt."""
    return [like(prompt[-1]["content"], response) for prompt, response in zip(prompts, responses, strict=True)]


def simulated(prompt, response):
    """`like` as a simulated person's taste: the prompt as people see it, each message after its role."""
    return like(prompt.rpartition("user: ")[2], response)
