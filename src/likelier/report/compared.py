"""Comparisons of a database with their votes and media files, for the report."""

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from likelier.errors import DataError
from likelier.feedback.check import AnnotatorCheck, FeedbackCheck
from likelier.feedback.check_all import check_store
from likelier.feedback.media import MediaFolder
from likelier.feedback.store import Store
from likelier.files.outputs import is_stream
from likelier.records import MEDIA_KINDS, JudgedComparison, Media, Response, to_plain_text

INLINE_BYTES = 256 * 1024
"""Media files up to this size are part of the page; larger ones are copied beside it."""
NUM_SHOWN = 12


def make_compared_view(db: str, page: Path, project: str | None = None) -> dict[str, Any]:
    """Return counts and up to `NUM_SHOWN` judged comparisons of a database, spread evenly over all of them by id.

    Media files that are too large for the page are copied to `<page>.media/`. DataError: no judgements, or as for
    `Store.open`.
    """
    with Store.open(db, project=project) as store:
        judged = store.judged()
        found = check_store(store)
        if not judged and not found.annotators:
            raise DataError(f"{db}: no judgements to show")
        by_comparison: dict[str, list[JudgedComparison]] = defaultdict(list)
        for entry in judged:
            by_comparison[entry.judgement.comparison_id].append(entry)
        ids = sorted(by_comparison)
        num_shown = min(NUM_SHOWN, len(ids))
        shown = [
            describe_comparison(by_comparison[ids[place * len(ids) // num_shown]], store.media_folder, page)
            for place in range(num_shown)
        ]
        beside = any(side["media"] and side["media"]["beside"] for each in shown for side in each["sides"])
        return {
            "comparisons": len(ids),
            "judgements": len(judged),
            "simulated": sum(entry.judgement.simulated for entry in judged),
            "shown": shown,
            "annotators": describe_annotators(judged, found.annotators),
            "agreement": describe_agreement(found),
            "folder": media_folder(page) if beside else "",
            "rankings": found.rankings,
            "ratings": found.ratings,
        }


def describe_agreement(found: FeedbackCheck) -> list[dict[str, Any]]:
    """Return the coefficients of agreement that are defined, with their intervals as far as there are any."""
    rows = [
        ("same answer", found.agreement, found.agreement_interval),
        ("Krippendorff’s alpha", found.alpha, found.alpha_interval),
        ("alpha, a tie in the middle", found.alpha_ordinal, found.alpha_ordinal_interval),
        ("Fleiss’ kappa", found.fleiss_kappa, found.fleiss_interval),
    ]
    for scale in found.rating_agreement:
        rows.append(("alpha of ratings by their order", scale.alpha_ordinal, scale.alpha_ordinal_interval))
        if scale.kind != "thumbs":
            rows.append(("alpha of ratings by their differences", scale.alpha_numeric, scale.alpha_numeric_interval))
    return [{"name": name, "value": value, "interval": interval} for name, value, interval in rows if value is not None]


def describe_annotators(
    judged: Sequence[JudgedComparison], checked: Sequence[AnnotatorCheck] = ()
) -> list[dict[str, Any]]:
    """Return how much and how each annotator answered, who judged most first; shares of left are of what was no tie."""
    by_name = {person.id: person for person in checked}
    given: dict[str, list[JudgedComparison]] = defaultdict(list, {name: [] for name in by_name})
    for entry in judged:
        given[entry.judgement.annotator].append(entry)
    people = []
    for name, entries in sorted(given.items(), key=lambda item: (-len(item[1]), item[0])):
        choices = Counter(entry.judgement.choice for entry in entries)
        sides = choices["left"] + choices["right"]
        times = [entry.judgement.duration_seconds for entry in entries if entry.judgement.duration_seconds is not None]
        people.append(
            {
                "id": name,
                "judgements": len(entries),
                "ties": choices["tie"],
                "left_rate": choices["left"] / sides if sides else None,
                "seconds": median(times) if times else None,
                "simulated": bool(entries) and all(entry.judgement.simulated for entry in entries),
                **describe_check(by_name.get(name)),
            }
        )
    return people


def describe_check(person: AnnotatorCheck | None) -> dict[str, Any]:
    """Return what the check says of an annotator; of ratings where there is nothing else."""
    if person is None:
        return {"answers": 0, "skill": None, "careless": None, "flags": ()}
    rates = person.skill is None
    return {
        "answers": person.rankings + person.ratings,
        "skill": person.rating_skill if rates else person.skill,
        "careless": person.rating_careless if rates else person.careless,
        "flags": tuple(dict.fromkeys((*person.flags, *person.rating_flags))),
    }


def describe_comparison(judged: Sequence[JudgedComparison], folder: MediaFolder, page: Path) -> dict[str, Any]:
    """Return prompt, responses and votes of one comparison, all of whose judgements are given."""
    votes = Counter(entry.judgement.preferred for entry in judged)
    responses = sorted((judged[0].left, judged[0].right), key=lambda response: response.id)
    return {
        "prompt": to_plain_text(judged[0].prompt.text),
        "judgements": len(judged),
        "ties": votes[None],
        "sides": [describe_response(response, folder, page) | {"votes": votes[response.id]} for response in responses],
    }


def describe_response(response: Response, folder: MediaFolder, page: Path) -> dict[str, Any]:
    """Return what the page shows of a response: its text, or its media file."""
    if response.media is None:
        return {"text": response.text, "media": None}
    return {"text": "", "media": describe_media(response.media, folder, page)}


def describe_media(media: Media, folder: MediaFolder, page: Path) -> Mapping[str, Any]:
    """Return the element that shows a file, its address, and if there is none the reason."""
    element = {"image": "img", "audio": "audio", "video": "video"}[media.kind.partition("/")[0]]
    view = {"element": element, "kind": media.kind, "size": media.size, "address": "", "problem": "", "beside": False}
    try:
        if media.size <= INLINE_BYTES:
            data = b64encode(folder.find(media).read_bytes()).decode()
            return view | {"address": f"data:{media.kind};base64,{data}"}
        if is_stream(page):
            return view | {"problem": "too large to be part of the page"}
        place = f"{media_folder(page)}/{media.sha256}{MEDIA_KINDS[media.kind]}"
        folder.copy_to(media, page.parent / place)
        return view | {"address": quote(place), "beside": True}
    except DataError as error:
        return view | {"problem": str(error)}


def media_folder(page: Path) -> str:
    """Return the name of the folder beside the page that holds large media files."""
    return f"{page.stem}.media"
