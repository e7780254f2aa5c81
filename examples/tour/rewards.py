"""A reward function: a list of numbers, one for each response."""


def variety(prompts, responses):
    """Share of a response's words that it uses once."""
    return [len(set(response.split())) / max(1, len(response.split())) for response in responses]
